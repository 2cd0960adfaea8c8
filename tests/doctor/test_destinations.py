"""What is told of a destination: whether it answers, knows us, takes what it gets, and shows it back."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from neurotriage.core.settings import Settings
from neurotriage.demo.pacs import StandInPacs
from neurotriage.doctor import State
from neurotriage.doctor.check import Check
from neurotriage.doctor.destinations import look_at_destination
from neurotriage.embedded.process import free_port
from tests.conftest import absent
from tests.doctor.looks import REPORT, SECONDARY_CAPTURE, Archive, by_subject, settings
from tests.seen.pacs import AE_TITLE, DICOM_WEB_PLUGIN, Pacs, running_pacs
from worker.delivery import dimse, dimse_client


def pacs_at(port: int, **more: object) -> Settings:
    destination = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, **more}
    return settings(destination=[destination])


def looked_at(site: Settings, *, store: bool = False) -> dict[str, Check]:
    return by_subject(look_at_destination(site, site.destination[0], store=store))


def test_a_destination_that_takes_all_is_well_and_nothing_is_written_to_it() -> None:
    with Archive() as archive:
        found = looked_at(pacs_at(archive.port))
        assert archive.stored == {}
    assert {check.state for check in found.values()} == {State.OK}
    assert set(found) == {"echo", "page", "overlay", "report", "proof", "way back"}
    assert "knows us as NEUROTRIAGE" in found["echo"].said
    assert found["page"].said == "accepted as Explicit VR Little Endian"
    assert found["proof"].said == "by query"


def test_a_test_study_that_is_asked_for_is_stored_under_a_test_name_and_found_again() -> None:
    with Archive() as archive:
        found = looked_at(pacs_at(archive.port), store=True)
        stored = list(archive.stored.values())
    assert {check.state for check in found.values()} == {State.OK}
    assert {"shown back page", "shown back overlay", "shown back report"} <= set(found)
    assert {str(one.PatientName) for one in stored} == {"NEUROTRIAGE^TEST"}
    assert {one.PatientID for one in stored} == {"NEUROTRIAGE-TEST"}
    assert {one.SOPClassUID for one in stored} == {SECONDARY_CAPTURE, REPORT}
    assert f"{len(stored)} of {len(stored)} objects" in found["store"].said


def test_two_test_studies_are_two_studies() -> None:
    with Archive() as archive:
        site = pacs_at(archive.port, objects=["page"])
        looked_at(site, store=True)
        looked_at(site, store=True)
        assert len({one.StudyInstanceUID for one in archive.stored.values()}) == 2


def test_a_destination_that_says_success_and_keeps_nothing_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("neurotriage.doctor.destinations._FOUND_WITHIN_S", 0.0)
    with Archive(keeps=False) as archive:
        found = looked_at(pacs_at(archive.port, objects=["page"]), store=True)
    assert found["store"].state is State.OK
    assert found["shown back page"].state is State.FAILED
    assert "accepted, but a query does not find them" in found["shown back page"].said


def test_an_object_that_a_destination_refuses_is_named_with_its_sop_class() -> None:
    with Archive([SECONDARY_CAPTURE]) as archive:
        found = looked_at(pacs_at(archive.port))
    assert found["page"].state is State.OK
    assert found["report"].state is State.WARNING
    assert found["report"].said == "Comprehensive 3D SR Storage is refused: SOP class not supported"
    assert REPORT in found["report"].advice


def test_a_destination_that_takes_nothing_fails() -> None:
    with Archive([]) as archive:
        found = looked_at(pacs_at(archive.port))
    assert {found[kind].state for kind in ("page", "overlay", "report")} == {State.FAILED}


def test_a_destination_that_does_not_know_us_is_told_apart_from_one_that_is_not_there() -> None:
    with Archive(strict=True) as archive:
        found = looked_at(pacs_at(archive.port))
    assert found["reached"].state is State.FAILED
    assert "does not know our AE title NEUROTRIAGE" in found["reached"].said
    gone = looked_at(pacs_at(free_port()))
    assert "does not answer: the connection was refused" in gone["reached"].said


def test_a_destination_that_never_says_a_word_is_left_within_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dimse, "_CONNECT_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = looked_at(pacs_at(silent.getsockname()[1]))
    assert "does not answer: it takes connections" in found["reached"].said


def test_a_label_map_that_is_refused_is_called_by_its_name() -> None:
    with Archive() as archive:
        found = looked_at(pacs_at(archive.port, objects=["page", "seg-labelmap"]))
    check = found["seg-labelmap"]
    assert check.state is State.WARNING
    assert check.said.startswith("Label Map Segmentation Storage is refused")
    assert "(1.2.840.10008.5.1.4.1.1.66.7)" in check.advice


def _silent(_: Dataset) -> Iterator[tuple[int, Dataset | None]]:
    threading.Event().wait(3)
    yield 0x0000, None


def _fails(_: Dataset) -> Iterator[tuple[int, Dataset | None]]:
    yield 0x0110, None


def _invents(_: Dataset) -> Iterator[tuple[int, Dataset | None]]:
    match = Dataset()
    match.StudyInstanceUID, match.SeriesInstanceUID, match.SOPInstanceUID = "9.9", "9.9.1", "9.9.1.1"
    yield 0xFF00, match
    yield 0x0000, None


def _echoes(asked: Dataset) -> Iterator[tuple[int, Dataset | None]]:
    yield 0xFF00, asked
    yield 0x0000, None


@pytest.mark.parametrize(
    ("behave", "level", "words"),
    [
        (_silent, "image", "not answered within 1 s"),
        (_fails, "image", "the query was answered 0x0110"),
        (_invents, "image", "objects that were not asked for"),
        (_invents, "series", "objects that were not asked for"),
        (_echoes, "series", "an object that was never sent"),
    ],
)
def test_an_archive_that_accepts_queries_and_does_not_serve_them_is_found_out(
    monkeypatch: pytest.MonkeyPatch, behave: Any, level: str, words: str
) -> None:
    monkeypatch.setattr(dimse_client, "_QUERY_ANSWER_S", 1.0)
    with Archive() as archive:
        archive.on_query = behave
        found = looked_at(pacs_at(archive.port, find=level), store=True)
    assert found["query"].state is State.WARNING
    assert words in found["query"].said
    assert 'find = "off"' in found["query"].advice
    assert found["proof"].state is State.WARNING
    assert found["store"].state is State.OK  # and the rest is looked at all the same


def test_where_no_query_is_wanted_none_is_made() -> None:
    with Archive() as archive:
        archive.on_query = _fails
        found = looked_at(pacs_at(archive.port, find="off", commitment="off"))
    assert "query" not in found
    assert found["proof"].said == "no proof is requested"


def test_a_destination_without_any_proof_is_a_warning(tmp_path: Path) -> None:
    with StandInPacs(tmp_path) as pacs:
        found = looked_at(pacs_at(pacs.port))
    assert found["proof"].state is State.WARNING


def test_a_destination_that_our_listener_would_not_let_in_is_a_warning() -> None:
    with Archive() as archive:
        site = pacs_at(archive.port)
        site = settings(**site.model_dump(exclude={"peer"}), peer=[{"ae_title": "CT1", "host": "10.0.0.1"}])
        found = looked_at(site)
    assert found["way back"].state is State.WARNING
    assert "[[peer]] PACS" in found["way back"].advice


def test_a_destination_that_is_the_sender_needs_a_peer_with_a_port() -> None:
    back = [{"name": "back", "to_sender": True}]
    unknown = settings(destination=back, peer=[{"ae_title": "CT1", "host": "127.0.0.1"}])
    assert looked_at(unknown)["address"].state is State.FAILED
    with Archive() as archive:
        peer = {"ae_title": "PACS", "host": "127.0.0.1", "port": archive.port}
        assert looked_at(settings(destination=back, peer=[peer]))["echo"].state is State.OK


def test_a_web_destination_that_does_not_answer_fails() -> None:
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    found = looked_at(settings(destination=[{"name": "web", "type": "dicomweb", "url": url}]))
    assert found["reached"].state is State.FAILED


@pytest.mark.parametrize(
    ("peer", "state"),
    [
        ({"host": "10.1.0.0/16", "port": 104}, State.WARNING),
        ({"host": "10.1.2.3"}, State.FAILED),
    ],
)
def test_senders_that_cannot_be_tried_are_no_failure_if_they_can_be_sent_to(
    peer: dict[str, Any], state: State
) -> None:
    site = settings(peer=[{"ae_title": "CT1", **peer}], destination=[{"name": "back", "to_sender": True}])
    (check,) = look_at_destination(site, site.destination[0], store=False)
    assert (check.subject, check.state) == ("address", state)


EVERYTHING = ["sc", "overlay-multiframe", "sr", "ko", "seg", "pm", "gsps", "pdf"]


@pytest.fixture(scope="module")
def real_pacs(orthanc: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    if not DICOM_WEB_PLUGIN.is_file():
        absent("orthanc", "Orthanc's DICOMweb plugin is not installed (Debian: apt install orthanc-dicomweb)")
    with running_pacs(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


def test_orthanc_takes_every_kind_of_object_and_shows_it_back(real_pacs: Pacs) -> None:
    found = looked_at(pacs_at(real_pacs.dicom_port, ae_title=AE_TITLE, objects=EVERYTHING), store=True)
    assert {name: check for name, check in found.items() if check.state is not State.OK} == {}
    assert sum(name.startswith("shown back ") for name in found) == 1 + len(EVERYTHING)  # sc is two
    assert found["proof"].said == "by storage commitment or query"


def test_orthanc_takes_every_kind_of_object_over_the_web_and_shows_it_back(real_pacs: Pacs) -> None:
    url = f"http://127.0.0.1:{real_pacs.http_port}/dicom-web"
    web = {"name": "web", "type": "dicomweb", "url": url, "objects": EVERYTHING}
    found = looked_at(settings(destination=[web]), store=True)
    assert {check.state for check in found.values()} == {State.OK}
    assert sum(name.startswith("shown back ") for name in found) == 1 + len(EVERYTHING)
