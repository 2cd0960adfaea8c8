"""All real studies at once, mixed, by C-STORE: each ends as in a folder, and none holds up another."""

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, build_context

from neurotriage.core.settings import CONFIG_VARIABLE, environment_of
from neurotriage.demo.pacs import StandInPacs
from neurotriage.dicom import requestor
from tests.analysis.test_real_studies import ALLOWED, WEIGHTS
from tests.listener.conftest import RealFile, real_files, status_of_bytes
from tests.scenarios.conftest import Site, destination, opened
from worker.vision import read_registry

pytestmark = [
    pytest.mark.scenario,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),
]

PATIENCE_S = 400.0  # 60 studies, on a host that does other things as well
# Another engine would round some probability otherwise.
AS_THE_SITE = {"NEUROTRIAGE__WORKER__THREADS": "1", "NEUROTRIAGE__WORKER__ENGINE": "openvino"}
COMPARED = ("outcome", "triage", "reasons", "findings", "predictions", "series")


@dataclass(frozen=True)
class Sent:
    """What went to the product, what it made of it, and what ``run`` makes of the same files."""

    site: Site
    silent: StandInPacs  # a second destination, not started yet
    mute: socket.socket  # takes connections on its port and never says a word
    files: list[RealFile]
    folders: dict[str, set[str]]  # StudyInstanceUID to the folders of studies.csv it came from
    told: dict[str, Mapping[str, Any]]  # by the network
    run: dict[str, Mapping[str, Any]]  # from a folder


def _expected(data: Path) -> dict[str, str]:
    """The word of ``studies.csv`` for each folder."""
    with (data / "studies.csv").open(newline="") as file:
        return {row["folder"]: row["expected"] for row in csv.DictReader(file)}


def _mixed(folder: Path) -> list[RealFile]:
    """One file of each folder in turn, so that all studies arrive at the same time."""
    by_folder: dict[Path, list[RealFile]] = {}
    for file in real_files(folder):
        by_folder.setdefault(file.path.parent, []).append(file)
    return [file for turn in zip_longest(*by_folder.values()) for file in turn if file is not None]


def send_all(files: list[RealFile], port: int) -> list[RealFile]:
    """Send in one association what is accepted; each must be answered 0x0000."""
    kinds = sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in files})
    contexts = [build_context(*kind) for kind in kinds]
    entity = AE("SENDER")
    entity.requested_contexts = contexts
    association = requestor.associate(entity, "127.0.0.1", port, called="NEUROTRIAGE")
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])): c for c in association.accepted_contexts}
    sent = [file for file in files if (file.sop_class_uid, file.transfer_syntax_uid) in accepted]
    for file in sent:
        context = accepted[file.sop_class_uid, file.transfer_syntax_uid]
        assert status_of_bytes(association, context, file.sop_instance_uid, file.data_set) == 0
    association.release()
    return sent


@contextmanager
def _running(files: list[RealFile], data: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``neurotriage run`` over the same files, meanwhile."""
    for file in files:
        link = folder / "in" / file.path.relative_to(data)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.path)
    command = ["run", str(folder / "in"), "--out", str(folder / "out")]
    with subprocess.Popen(
        [sys.executable, "-m", "neurotriage", *command],
        env={**os.environ, CONFIG_VARIABLE: os.devnull, **AS_THE_SITE},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def results_as_json(site: Site) -> list[dict[str, Any]]:
    """``neurotriage results`` as an admin would ask for them."""
    answer = subprocess.run(
        [sys.executable, "-m", "neurotriage", "results", "--format", "json", "--limit", "1000"],
        env={**os.environ, **environment_of(site.stack.settings)},
        capture_output=True,
        check=True,
    )
    entries: list[dict[str, Any]] = json.loads(answer.stdout)
    return entries


def by_study(entries: list[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {entry["study_instance_uid"]: entry for entry in entries if entry["study_instance_uid"]}


def _owed(site: Site, name: str) -> int:
    """Objects that a destination does not have yet."""
    statement = f"select count(*) from deliveries where destination = '{name}' and state <> 'stored'"  # noqa: S608
    return int(site.scalar(statement))


def _unfinished(site: Site) -> int:
    """Studies that images still come for, and revisions without an end."""
    return int(
        site.scalar(
            "select (select count(*) from studies where state = 'open')"
            " + (select count(*) from revisions where state in ('ready', 'analysing'))"
        )
    )


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[Sent]:
    folder, data = tmp_path_factory.mktemp("hospital"), data_dir / "dicom"
    files = _mixed(data)
    silent = StandInPacs(folder / "silent", ae_title="SILENT")
    with socket.create_server(("127.0.0.1", 0)) as mute, StandInPacs(folder / "pacs") as pacs:
        silent.port = mute.getsockname()[1]
        # Images of 60 studies come in turn: on a busy host seconds lie between two of one study.
        with opened(folder, pacs, destination("silent", silent.port), quiet_s=20) as site:
            sent = send_all(files, site.stack.settings.listener.port)
            folders: dict[str, set[str]] = {}
            for file in sent:
                uid = str(dcmread(file.path, stop_before_pixels=True).get("StudyInstanceUID", ""))
                within = file.path.relative_to(data).as_posix()
                folders.setdefault(uid, set()).update(
                    name for name in _expected(data) if within.startswith(f"{name}/")
                )
            folders.pop("")  # htj2k_no_patient
            with _running(sent, data, folder) as run:
                site.wait(
                    "every study has an outcome",
                    lambda: site.scalar("select count(distinct study_id) from analyses") == len(folders),
                    timeout_s=PATIENCE_S,
                )
                site.wait("every revision has ended", lambda: _unfinished(site) == 0, timeout_s=PATIENCE_S)
                site.wait("the living destination has everything", lambda: _owed(site, "pacs") == 0)
                assert run.wait(PATIENCE_S) == 0
            told = by_study(results_as_json(site))
            entries = json.loads((folder / "out" / "result.json").read_text())
            yield Sent(site, silent, mute, sent, folders, told, by_study(entries))


def test_every_real_study_that_can_be_sent_ends_as_expected_with_a_reason(sent: Sent, data_dir: Path) -> None:
    expected = _expected(data_dir / "dicom")
    assert set(sent.told) == set(sent.folders)
    wrong = []
    for uid, folders in sent.folders.items():
        entry = sent.told[uid]
        explained = entry["reasons"] or entry["outcome"] in ("present", "absent")
        for folder in folders:
            allowed = ALLOWED[expected[folder]]
            if folder.startswith("brain_ct") and "CT" not in read_registry(WEIGHTS).modalities:
                allowed = frozenset({"not_eligible"})
            if entry["outcome"] not in allowed or not explained:
                wrong.append((folder, expected[folder], entry["outcome"]))
    assert not wrong
    assert sent.site.stack.dead() == {}


def test_by_network_a_study_ends_as_in_a_folder_run(sent: Sent) -> None:
    assert set(sent.run) == set(sent.told)
    for uid, entry in sent.run.items():
        for key in COMPARED:
            assert sent.told[uid][key] == entry[key], (sent.folders[uid], key)


def test_every_instance_is_there_once_or_set_aside_with_a_reason(sent: Sent) -> None:
    site = sent.site
    assert site.spooled == 0
    received = site.scalar("select sum(times_received) from instances")
    assert received + site.scalar("select count(*) from quarantined") == len(sent.files)
    assert site.scalar("select count(*) from quarantined") == 1
    assert site.scalar("select code from quarantined") == "no_study"
    assert site.scalar("select count(*) from refused_contexts") > 0


def test_a_silent_destination_holds_up_no_other_and_gets_everything_when_it_speaks(sent: Sent) -> None:
    site = sent.site
    total = site.scalar("select count(*) from deliveries where destination = 'pacs'")
    assert len(site.pacs.received()) == total > 0
    assert _owed(site, "silent") == total
    sent.mute.close()
    with sent.silent:
        site.wait("the other has everything, too", lambda: _owed(site, "silent") == 0, timeout_s=PATIENCE_S)
    assert sent.silent.received().keys() == site.pacs.received().keys()


def test_all_of_it_sent_again_makes_nothing_new(sent: Sent) -> None:
    site = sent.site
    made = "select array[(select count(*) from revisions), (select count(*) from result_objects)]"
    before, stores = site.scalar(made), site.pacs.stores
    send_all(sent.files, site.stack.settings.listener.port)
    twice = 2 * site.scalar("select count(*) from instances")
    site.wait("all are counted again", lambda: site.spooled == 0)
    assert site.scalar("select sum(times_received) from instances") >= twice
    assert site.scalar("select count(*) from studies where state = 'open'") == 0
    assert (site.scalar(made), site.pacs.stores) == (before, stores)
