"""How many instances an archive says that a study has."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from db.studies.arrivals import Arrival, ArrivedSeries, StudyArrivals
from dicom_listener.assembly import study_facts
from dicom_listener.assembly.counting import Counts, ask, peer_to_ask
from neurotriage.core.errors import Unavailable
from neurotriage.core.placement import Placement
from neurotriage.core.settings import Settings
from neurotriage.embedded.process import free_port
from tests.conftest import until

pytestmark = pytest.mark.unit

SENDER = "CT", "127.0.0.1"
FACTS = study_facts(
    StudyArrivals(
        7,
        "1.2.3",
        (ArrivedSeries(1, "CT", "", ""),),
        (Arrival(1, "1.2", SENDER, "", time.time(), Placement(), frozen=False),),
        1,
        0,
        completed=False,
    )
)


@contextmanager
def archive(*counts: int | None) -> Iterator[tuple[int, list[str]]]:
    """An archive that answers with one match for each of ``counts``; its port and what it was asked."""
    asked: list[str] = []

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(f"{event.identifier.QueryRetrieveLevel} {event.identifier.StudyInstanceUID}")
        for count in counts:
            match = Dataset()
            match.NumberOfStudyRelatedInstances = count
            yield 0xFF00, match

    entity = AE("CT")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()


def configured(port: int, **assembly: object) -> Settings:
    peer = {"ae_title": "CT", "host": "127.0.0.1", "port": port, "count": True}
    return Settings.model_validate({"peer": [peer], "assembly": {"count_timeout_s": 2, **assembly}})


def test_an_archive_is_asked_at_the_level_of_the_study() -> None:
    with archive(42) as (port, asked):
        settings = configured(port)
        assert ask(settings, settings.peer[0], "1.2.3") == 42
    assert asked == ["STUDY 1.2.3"]


@pytest.mark.parametrize("counts", [(), (None,), (1, 2)])
def test_an_answer_without_one_number_is_none(counts: tuple[int | None, ...]) -> None:
    with archive(*counts) as (port, _):
        settings = configured(port)
        with pytest.raises(Unavailable, match="how many instances"):
            ask(settings, settings.peer[0], "1.2.3")


def test_a_peer_that_is_away_is_unavailable() -> None:
    settings = configured(free_port())
    with pytest.raises(Unavailable, match="accepts no association"):
        ask(settings, settings.peer[0], "1.2.3")


def test_the_sender_is_asked_where_it_may_be_or_the_peer_that_is_named() -> None:
    peers = [
        {"ae_title": "CT", "host": "h", "port": 104},
        {"ae_title": "MR", "host": "h", "port": 104, "count": True},
        {"ae_title": "PACS", "host": "h", "port": 104},
    ]
    settings = Settings.model_validate({"peer": peers})
    assert peer_to_ask(settings, [("CT", "h")]) is None
    assert getattr(peer_to_ask(settings, [("CT", "h"), ("MR", "h")]), "ae_title", "") == "MR"
    settings = Settings.model_validate({"peer": peers, "assembly": {"count_peer": "PACS"}})
    assert getattr(peer_to_ask(settings, [("CT", "h")]), "ae_title", "") == "PACS"


def test_a_study_is_asked_about_a_bounded_number_of_times_and_an_old_answer_does_not_count() -> None:
    with archive(1) as (port, asked):
        counts = Counts(configured(port, count_every_s=0.001, count_questions=2))
        assert counts.of(FACTS, "v1", 4.9) is None
        assert asked == []
        until(lambda: counts.of(FACTS, "v1", 5.0) == 1, 20)
        assert counts.of(FACTS, "v2", 0.0) is None
        for _ in range(5):
            counts.of(FACTS, "v2", 5.0)
        until(lambda: counts.of(FACTS, "v2", 0.0) == 1 or len(asked) >= 2, 20)
        assert len(asked) == 2
