"""The odd inputs of ``tests/cases``, all by C-STORE in one association: each ends as in a folder."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from neurotriage.demo.pacs import StandInPacs
from tests.cases.test_cases import CASES, ROWS, assert_accepted, unpacked
from tests.conftest import absent
from tests.listener.conftest import RealFile, real_files
from tests.scenarios.conftest import Site, opened
from tests.scenarios.test_real_studies import by_study, results_as_json, send_all

pytestmark = [
    pytest.mark.scenario,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),
]

PATIENCE_S = 400.0  # 17 studies, on a host that does other things as well


@dataclass(frozen=True)
class Sent:
    """What went to the product and what came of it."""

    site: Site
    files: list[RealFile]
    studies: Mapping[str, str]  # StudyInstanceUID by the name of the case
    ends: Mapping[str, Mapping[str, Any]]  # by StudyInstanceUID


def _study_of(folder: Path) -> str:
    uids = {str(dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in folder.iterdir()}
    (uid,) = uids
    return uid


def _renew(folder: Path, uid: str) -> str:
    """Another study of the same bytes, as some files are too broken to be written anew; its UID."""
    digits = len(uid) - len("2.25.")
    other = f"2.25.{10 ** (digits - 1) + secrets.randbelow(10 ** (digits - 1))}"
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(uid.encode(), other.encode()))
    return other


def _unpacked(folder: Path) -> dict[str, str]:
    """All cases below ``folder``, each a study of its own; the StudyInstanceUID of each."""
    studies: dict[str, str] = {}
    for name in ROWS:
        files = unpacked(name, folder / name)
        uid = _study_of(files)
        studies[name] = _renew(files, uid) if uid in studies.values() else uid
    return studies


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    if not ROWS:
        absent("cases", f"no cases at {CASES}; set NEUROTRIAGE_TEST_CASES")
    folder = tmp_path_factory.mktemp("cases")
    studies = _unpacked(folder / "in")
    files = list(real_files(folder / "in"))
    with StandInPacs(folder / "pacs") as pacs, opened(folder, pacs) as site:
        assert send_all(files, site.stack.settings.listener.port) == files
        waiting = "select count(*) from study_results where outcome is null or deliveries_waiting > 0"
        site.wait("all is recorded", lambda: site.spooled == 0)
        site.wait("every study ends", lambda: site.scalar(waiting) == 0, timeout_s=PATIENCE_S)
        yield Sent(site, files, studies, by_study(results_as_json(site)))


def test_nothing_of_them_is_lost(sent: Sent) -> None:
    assert sent.ends.keys() == set(sent.studies.values())
    assert sent.site.scalar("select sum(times_received) from instances") == len(sent.files)
    assert sent.site.scalar("select count(*) from quarantined") == 0
    assert sent.site.stack.dead() == {}


@pytest.mark.parametrize("name", ROWS or ["(none)"])
def test_a_case_that_was_sent_ends_as_a_careful_person_accepts(name: str, sent: Sent) -> None:
    end = sent.ends[sent.studies[name]]
    assert_accepted(ROWS[name], end)
    assert {result["state"] for result in end["results"]} <= {"stored"}
