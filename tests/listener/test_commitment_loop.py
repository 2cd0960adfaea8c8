"""The ingester asks Postgres about storage commitments only while some wait, and misses none."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from dicom_listener import ingester
from dicom_listener.backlog import Backlog, LatestBacklog
from dicom_listener.commitment.decide import decide
from dicom_listener.ingest.notes import ingest_requests
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.spool import Spool
from dicom_listener.spool.commitments import RequestedCommitment
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage
from neurotriage.dicom.commitment_request import CommitmentRequest
from tests.listener.conftest import PARTIES, rows

DECIDED = "select transaction_uid from commitment_transactions where decided_at is not null order by id"


def _ask(spool: Spool, transaction_uid: str) -> None:
    request = CommitmentRequest(transaction_uid, (("1.2.840.10008.5.1.4.1.1.4", "1.2.3"),))
    spool.note_commitment(RequestedCommitment.of(PARTIES, "127.0.0.1", request))


def _listed(listed_until: datetime) -> LatestBacklog:
    latest = LatestBacklog()
    latest.tell(lambda: Backlog(listed_until, {}))
    return latest


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A value for each time that Postgres was asked what to decide."""
    calls: list[object] = []

    def counted(*args: object) -> int:
        calls.append(None)
        return decide(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(ingester, "decide", counted)
    return calls


@pytest.fixture
def begin(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[LatestBacklog], Callable[[], object]]:
    """The step of an ingester that has just been started."""

    def start(latest: LatestBacklog) -> Callable[[], object]:
        found: list[Callable[[], object]] = []
        monkeypatch.setattr(ingester, "_repeat", lambda name, steps, stop, pause: found.extend(steps))
        of_server = settings.model_dump() | {"database": {"url": database_url}}
        ingester._decide(Settings.model_validate(of_server), threading.Event(), latest, threading.Event())
        return found[0]

    return start


def test_while_no_request_waits_postgres_is_not_asked(
    engine: Engine, spool: Spool, begin: Callable[..., Callable[[], object]], asked: list[object]
) -> None:
    step = begin(_listed(datetime.max.replace(tzinfo=UTC)))
    for _ in range(3):
        step()
    assert len(asked) == 1
    _ask(spool, "2.25.1")
    for _ in range(3):
        step()
    assert (len(asked), rows(engine, DECIDED)) == (2, [("2.25.1",)])


def test_a_request_that_is_not_due_yet_is_asked_about_until_it_is(
    engine: Engine, spool: Spool, begin: Callable[..., Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    latest = _listed(datetime(1970, 1, 1, tzinfo=UTC))
    step = begin(latest)
    _ask(spool, "2.25.1")
    step()
    step()
    assert rows(engine, DECIDED) == []
    monkeypatch.setattr("dicom_listener.backlog._TELL_EVERY_S", 0.0)
    latest.tell(lambda: Backlog(datetime.max.replace(tzinfo=UTC), {}))
    step()
    assert rows(engine, DECIDED) == [("2.25.1",)]


def test_what_an_earlier_process_recorded_is_decided(
    engine: Engine, spool: Spool, quarantine: Quarantine, begin: Callable[..., Callable[[], object]]
) -> None:
    _ask(spool, "2.25.1")
    assert ingest_requests(engine, spool, quarantine) == 1
    begin(_listed(datetime.max.replace(tzinfo=UTC)))()
    assert rows(engine, DECIDED) == [("2.25.1",)]


def test_a_request_recorded_beside_one_that_cannot_be_set_aside_yet_is_decided(
    engine: Engine, spool: Spool, storage: Storage, begin: Callable[..., Callable[[], object]]
) -> None:
    step = begin(_listed(datetime.max.replace(tzinfo=UTC)))
    step()
    _ask(spool, "2.25.1")
    (note,) = spool.commitments()
    (note.parent / "9.json").write_text("half a no")
    storage.quarantine.write_text("no folder")
    with pytest.raises(Unavailable):
        step()
    storage.quarantine.unlink()
    step()
    assert spool.commitments() == []
    assert rows(engine, DECIDED) == [("2.25.1",)]
