"""Results that wait, and real listeners that do as they are told."""

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from sqlalchemy import Engine, text

from db.studies.objects import WrittenObject
from neurotriage.core.settings import Settings
from neurotriage.core.storage import write_durably
from neurotriage.demo.pacs import StandInPacs
from tests.core.made import part10
from tests.db.rows import analysed, claimed, ready_revision, written
from worker.delivery import deliver

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"


def result(number: int, sop_class: str = SECONDARY_CAPTURE) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"2.25.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "2.25.7"
    dataset.PatientName = "Müller^山田"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset


def draw(dataset: Dataset) -> None:
    """Give it a small grey picture."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 8
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = bytes(range(64))


class Site:
    """Results that wait, a storage folder, and the states of the deliveries."""

    def __init__(self, engine: Engine, root: Path) -> None:
        self.engine = engine
        self.root = root
        self.settings = Settings.model_validate(
            {"storage": {"root": root}, "delivery": {"retry_s": 10, "retry_max_s": 1000}}
        )

    def destination(
        self, name: str, port: int, ae_title: str = "PACS", host: str = "127.0.0.1", **more: Any
    ) -> None:
        self._add({"name": name, "ae_title": ae_title, "host": host, "port": port, **more})

    def web(self, name: str, url: str, **more: Any) -> None:
        """A DICOMweb destination."""
        self._add({"name": name, "type": "dicomweb", "url": url, **more})

    def _add(self, added: dict[str, Any]) -> None:
        known = [d.model_dump() for d in self.settings.destination if d.name != added["name"]]
        self.choose(destination=[*known, added])

    def choose(self, **sections: Any) -> None:
        """Other settings; a section as a dictionary changes some of its fields."""
        chosen = self.settings.model_dump()
        for name, value in sections.items():
            chosen[name] = {**chosen[name], **value} if isinstance(value, dict) else value
        self.settings = Settings.model_validate(chosen)

    def results(
        self,
        *numbers: int,
        study: str = "1.2.3",
        to: Sequence[str] = ("pacs",),
        report: int | None = None,
        padding_bytes: int = 0,
        picture: bool = False,
    ) -> None:
        """An analysed study whose objects wait; ``report`` is the number of the one that is an SR."""
        objects = [
            self._write(number, REPORT if number == report else SECONDARY_CAPTURE, padding_bytes, picture)
            for number in numbers
        ]
        with self.engine.begin() as connection:
            held = claimed(connection, ready_revision(connection, study=study))
            analysed(connection, held, *(replace(made, destinations=tuple(to)) for made in objects))

    def _write(self, number: int, sop_class: str, padding_bytes: int, picture: bool) -> WrittenObject:
        dataset = result(number, sop_class)
        if picture:
            draw(dataset)
        if padding_bytes:
            dataset.DataSetTrailingPadding = bytes(padding_bytes)
        data = part10(dataset)
        made = written(number)
        write_durably(self.root / made.path, data)
        return replace(made, result=replace(made.result, sop_class_uid=sop_class, data=data))

    def deliver(self, destination: str = "pacs") -> int:
        return deliver(self.engine, self.settings, destination, owner="test")

    def states(self, destination: str = "pacs") -> list[tuple[str, int, str]]:
        """(state, attempts, last status) of each delivery."""
        return [
            (row[0], row[1], row[2])
            for row in self._rows(
                "select state, attempts, last_status from deliveries where destination = :name order by id",
                name=destination,
            )
        ]

    def column(self, name: str, destination: str = "pacs") -> list[Any]:
        """A column of the deliveries to a destination."""
        statement = f"select {name} from deliveries where destination = :name order by id"  # noqa: S608
        return [row[0] for row in self._rows(statement, name=destination)]

    def execute(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement))

    def events(self) -> list[str]:
        """The kinds of all events of delivery, in order."""
        kinds = [row[0] for row in self._rows("select kind from events order by id")]
        return kinds[kinds.index("analysed") + 1 :]

    def next_try_in_s(self) -> float:
        ((seconds,),) = self._rows("select extract(epoch from next_try_at - now()) from deliveries limit 1")
        return float(seconds)

    def let_time_pass(self) -> None:
        self._rows(
            "update deliveries set next_try_at = now(), "
            "proof_due_at = case when proof_due_at is not null then now() end returning id"
        )

    def _rows(self, statement: str, **values: str) -> Sequence[Any]:
        with self.engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]


@pytest.fixture
def site(engine: Engine, tmp_path: Path) -> Site:
    return Site(engine, tmp_path / "storage")


@pytest.fixture
def pacs(site: Site, tmp_path: Path) -> Iterator[StandInPacs]:
    with StandInPacs(tmp_path / "pacs") as running:
        site.destination("pacs", running.port)
        yield running


Answer = Callable[[evt.Event], int]


@contextmanager
def listener(
    answer: Answer = lambda _: 0x0000,
    *,
    classes: Sequence[str] = (SECONDARY_CAPTURE, REPORT),
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    title: str = "PACS",
    strict: bool = False,
    calling: Sequence[str] = (),
    on_requested: Callable[[evt.Event], None] = lambda _: None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[int]:
    """A listener that does as it is told, on a port of its own."""
    ae = AE(title)
    ae.require_called_aet = strict
    ae.require_calling_aet = list(calling)
    for sop_class in classes:
        ae.add_supported_context(sop_class, list(syntaxes))
    handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, answer), (evt.EVT_REQUESTED, on_requested)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()


def uid_of(event: evt.Event) -> str:
    assert isinstance(event.request, C_STORE)
    return str(event.request.AffectedSOPInstanceUID)


@contextmanager
def storescp(
    folder: Path, port: int, *options: str, title: str = "PACS"
) -> Iterator["subprocess.Popen[bytes]"]:
    """DCMTK's receiver, a process of its own; it keeps a file per object."""
    folder.mkdir(exist_ok=True)
    command = ["storescp", "-aet", "PACS", "-od", str(folder), *options, str(port)]
    running = subprocess.Popen(command, start_new_session=True)
    try:
        await_port(port)
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait(10)


def await_port(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("nobody listens")


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
