"""Listener and ingester die before each statement that moves an instance on, five times each."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from sqlalchemy import Engine

from db.engine import connect
from db.studies import instances
from dicom_listener.association.receiving import Receiving
from dicom_listener.ingest import header_reader, store
from dicom_listener.ingest.header_reader import ReadRequest
from dicom_listener.ingest.header_readers import HeaderReaders, ReadResult
from dicom_listener.ingest.ingest import Ingest
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.server import Listener
from dicom_listener.spool import AssociationInfo, Spool
from dicom_listener.spool.incoming import Incoming
from neurotriage.core.settings import DeliverySettings, Settings
from neurotriage.core.storage import Storage
from neurotriage.core.values import Reason
from tests.killed import CONTEXT, die_before, run_until_it_dies
from tests.listener.conftest import associate, data_set_of, encoded, instance, rows, status_of

pytestmark = pytest.mark.scenario

KILLS: Final = 5
IMAGES: Final = 40
_START_S: Final = 30
CONTEXT.set_forkserver_preload([__name__])

Place = tuple[Callable[..., Any], str]

RECEIVING: dict[str, Place] = {
    "the first byte is written": (Incoming.write, "_write_all"),
    "the digest is written": (Incoming.commit, "os.pwrite"),
    "the file is synced": (Incoming.commit, "os.fsync"),
    "the file gets its name": (Incoming.commit, "self._temporary.rename"),
    "the folder is synced": (Incoming.commit, "sync_folder"),
    "the thread of the disk is done": (Incoming.commit, "return"),
    "the sender is answered": (Receiving._answer, "self._settle"),
    "the end of an association gets its name": (Spool._write_note, "temporary.rename"),
}

INGESTING: dict[str, Place] = {
    "a file is linked": (store._link, "place.hardlink_to"),
    "the folders of the store are synced": (store.link_into_store, "for folder in changed"),
    "the transaction begins": (Ingest._record_instances, "with outage_as_unavailable"),
    "the rows are written": (instances.record_instances, "_insert"),
    "the transaction ends": (instances.record_instances, "return new"),
    "what is recorded leaves the spool": (Ingest._record_instances, "for item in group"),
    "the next one leaves the spool": (Ingest._finish, "waiting.path.unlink"),
    "one has left the spool": (Ingest._finish, "self._quarantine.forget"),
    "the row of one set aside": (Quarantine.set_aside, "with outage_as_unavailable"),
    "one set aside moves": (Quarantine.set_aside, "path.replace"),
    "one set aside has moved": (Quarantine.set_aside, "sync_folder(path.parent)"),
}


def _listen(settings: Settings, place: Place, times: int, started: Connection) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    die_before(*place, times)
    started.send(Listener(settings, "main").start())
    threading.Event().wait(_START_S)


@contextmanager
def _mortal(settings: Settings, place: Place, times: int) -> Iterator[int]:
    """A listener's port; it must have died at the end."""
    here, there = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_listen, args=(settings, place, times, there))
    process.start()
    try:
        assert here.poll(_START_S), "the listener did not start"
        yield here.recv()
        process.join(_START_S)
        assert process.exitcode == -9, "the statement was not reached"
    finally:
        process.kill()


@pytest.mark.parametrize("name", RECEIVING)
def test_a_listener_killed_before_a_statement_has_every_answered_image(
    settings: Settings, ingest: Ingest, engine: Engine, name: str
) -> None:
    waiting = [instance(number=number, PixelData=os.urandom(2 * 64 * 64)) for number in range(1, IMAGES)]
    answered: list[Dataset] = []
    for kill in range(KILLS):
        # The note of an association's end comes after its images, the other statements with each of them.
        times = 1 if RECEIVING[name][0] is Spool._write_note else 1 + kill
        with _mortal(settings, RECEIVING[name], times) as port:
            association = associate(port)
            while waiting and association.is_established and len(answered) < 6 * (kill + 1):
                if status_of(association, waiting[0]) != 0:
                    break
                answered.append(waiting.pop(0))
            association.release()
    root = settings.storage.root
    spool = Spool(Storage(root), "main", min_free_bytes=0)
    spool.recover()
    ingest.drain()
    spool.close()
    _require_once(engine, root, answered, others=KILLS)
    assert not list((root / "spool" / "main" / "tmp").iterdir())


def _require_once(engine: Engine, root: Path, answered: Sequence[Dataset], *, others: int) -> None:
    """The files of the store are these data sets and so many ``others`` at most, with one row each."""
    stored = [data_set_of(path) for path in (root / "store").rglob("*.dcm")]
    assert len(stored) == len(set(stored))
    assert {encoded(dataset) for dataset in answered} <= set(stored)
    assert len(stored) <= len(answered) + others
    digests = [digest for (digest,) in rows(engine, "select digest from instances where counts")]
    assert sorted(digests) == sorted(sha256(data).hexdigest() for data in stored)


class OwnReader(HeaderReaders):
    """Reads in this process: a child of each that is killed would take a second to start."""

    def answers(self, timeout_s: float) -> list[tuple[ReadRequest, ReadResult]]:
        asked, self._next = list(self._next), deque()
        return [(request, _read(request)) for request in asked]

    def _assign(self) -> None:
        pass


def _read(request: ReadRequest) -> ReadResult:
    answer: Any = header_reader._answer(request.kind, request.path, request.digest)
    return answer["header"] if "header" in answer else Reason(**answer["reason"])


def _ingest(settings: Settings, place: Place, times: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    die_before(*place, times)
    engine, storage = connect(settings.database.url), Storage(settings.storage.root)
    Ingest(
        engine,
        storage,
        Spool(storage, "main", min_free_bytes=0),
        OwnReader(),
        Quarantine(engine, storage),
        limits=DeliverySettings(),
    ).drain()


@pytest.mark.parametrize("name", INGESTING)
def test_an_ingester_killed_before_a_statement_records_every_file_once(
    settings: Settings,
    ingest: Ingest,
    engine: Engine,
    database_url: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = settings.model_copy(
        update={"database": settings.database.model_copy(update={"url": database_url})}
    )
    spool = Spool(Storage(settings.storage.root), "main", min_free_bytes=0)
    datasets = [instance(number=number, PixelData=os.urandom(2 * 64 * 64)) for number in range(1, IMAGES)]
    broken = [os.urandom(3000) for _ in range(2 * KILLS)]
    for number, data in enumerate([*broken, *map(encoded, datasets)]):
        spool.receive(
            AssociationInfo(f"PEER{number % 2}", "NEUROTRIAGE", "127.0.0.1"),
            sop_class_uid=MRImageStorage,
            sop_instance_uid=f"1.2.3.1.{number}",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            data_set=data,
        )
    for _ in range(KILLS):
        run_until_it_dies(_ingest, here, INGESTING[name], 1)
    ingest.drain()
    _require_once(engine, settings.storage.root, datasets, others=0)
    assert not spool.waiting()
    aside = list((settings.storage.root / "quarantine").iterdir())
    assert sorted(path.read_bytes()[-3000:] for path in aside) == sorted(broken)
    assert rows(engine, "select count(*) from quarantined") == [(len(broken),)]
