"""Archives that accept queries and do not serve them cost little, and nothing that they say is a proof."""

import threading
from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset

from tests.delivery.archive import Archive
from tests.delivery.conftest import Site
from tests.delivery.web import Service
from worker.delivery import dimse_client


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimse_client, "_QUERY_ANSWER_S", 1.0)


@pytest.fixture
def silent() -> Iterator[Archive]:
    """Like PixelMed: the query is taken and not answered."""
    woken = threading.Event()

    def waits(_: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        woken.wait(60)
        yield 0x0000, None

    with Archive() as archive:
        archive.on_query = waits
        yield archive
        woken.set()


def test_a_query_that_is_not_answered_is_not_made_again_for_an_hour(site: Site, silent: Archive) -> None:
    site.destination("pacs", silent.port)
    for number in range(1, 5):
        site.results(number, study=f"1.2.{number}")
    assert site.deliver() == 4
    site.results(5, study="1.2.5")
    assert site.deliver() == 1
    assert len(silent.queries) == 1
    assert not any(site.column("found_at"))
    assert site.column("alarmed_at") == [None] * 5


def test_an_archive_that_answers_no_query_ends_without_a_proof_and_without_an_alarm(
    site: Site, silent: Archive
) -> None:
    site.destination("pacs", silent.port)
    site.results(1)
    for _ in range(10):
        site.deliver()
        site.let_time_pass()
        site.execute("update destination_leases set no_queries_until = now()")
    assert silent.stores == ["2.25.1"]
    assert len(silent.queries) == 4
    assert site.column("state") == ["stored"]
    assert site.column("proof_due_at") == site.column("alarmed_at") == [None]
    assert site.column("proof")[0].startswith(
        "no proof: no storage commitment, and the query was not answered"
    )


def test_what_was_sent_before_is_sent_all_the_same_where_queries_are_not_answered(
    site: Site, silent: Archive
) -> None:
    silent.on_store = lambda _: 0xA700
    site.destination("pacs", silent.port)
    site.results(1, 2)
    site.deliver()
    silent.on_store = lambda _: 0x0000
    site.let_time_pass()
    assert site.deliver() == 2
    assert len(silent.queries) == 1


def test_an_archive_that_aborts_at_a_query_gets_its_objects(site: Site) -> None:
    with Archive() as archive:

        def aborts(_: Dataset) -> Iterator[tuple[int, Dataset | None]]:
            for association in archive.running():
                association.abort()
            yield 0x0000, None

        archive.on_query = aborts
        archive.on_store = lambda _: 0xA700
        site.destination("pacs", archive.port)
        site.results(1, 2)
        site.deliver()
        archive.on_store = lambda _: 0x0000
        site.let_time_pass()
        assert site.deliver() == 2
    assert len(archive.queries) == 1


def test_a_query_that_fails_is_no_proof_and_no_alarm(site: Site) -> None:
    """Like dcmjs-dimse, which answers 0x0110 unless it is told how to search."""
    with Archive() as archive:
        archive.query_status = 0x0110
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
    assert site.column("found_at") == site.column("alarmed_at") == site.column("proof_due_at") == [None]
    assert "0x0110" in site.column("proof")[0]


def _invents(study: str, series: str, instance: str, times: int = 3) -> Iterator[tuple[int, Dataset | None]]:
    for _ in range(times):
        match = Dataset()
        match.StudyInstanceUID, match.SeriesInstanceUID, match.SOPInstanceUID = study, series, instance
        yield 0xFF00, match
    yield 0x0000, None


@pytest.mark.parametrize("level", ["image", "series"])
def test_invented_matches_are_no_proof_and_nothing_is_sent_again(site: Site, level: str) -> None:
    """Like CTN, which answers with studies of its own."""
    with Archive() as archive:
        archive.on_query = lambda _: _invents("9.9", "9.9.1", "9.9.1.1")
        site.destination("pacs", archive.port, find=level)
        site.results(1)
        for _ in range(10):
            site.deliver()
            site.let_time_pass()
    assert archive.stores == ["2.25.1"]
    assert site.column("found_at") == site.column("alarmed_at") == [None]
    assert "not asked for" in site.column("proof")[0]


def test_another_object_of_the_series_is_no_proof(site: Site) -> None:
    with Archive(keeps=False) as archive:
        archive.on_query = lambda asked: _invents(asked.StudyInstanceUID, asked.SeriesInstanceUID, "2.25.99")
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
    assert site.column("found_at") == [None]
    assert site.column("proof") == ["not found there yet"]


def test_a_web_archive_that_ignores_what_it_is_asked_is_no_proof(site: Site) -> None:
    with Service() as service:
        alien = {"0020000E": {"vr": "UI", "Value": ["9.9"]}, "00080018": {"vr": "UI", "Value": ["9.9.1"]}}
        service.on_query = lambda _: (200, [alien])
        site.web("pacs", service.url)
        site.results(1)
        for _ in range(10):
            site.deliver()
            site.let_time_pass()
    assert len(service.parts) == 1
    assert site.column("found_at") == site.column("alarmed_at") == [None]
    assert "not asked for" in site.column("proof")[0]
