"""Receivers as they run at a site, each a process of its own: ours with all that ``serve`` runs, others.

All get the same environment; DCMTK's library, which Orthanc uses too, reads ``TCP_NODELAY`` from it.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, text

from db.engine import connect
from neurotriage.core.settings import Settings
from neurotriage.embedded.process import LOOPBACK, free_port
from neurotriage.embedded.stack import ROLES, Stack

PATIENCE_S: Final = 300.0
NEVER_QUIET_S: Final = 86_400.0
_POLL_S: Final = 0.02
_NO_DELAY: Final = {"TCP_NODELAY": "1"}


@dataclass(frozen=True, slots=True)
class Receiver:
    """A storage SCP on this host.

    ``stored`` counts its instances from outside, where it keeps any. ``forget`` drops what it has not
    synced, which would be written while another receiver is measured.
    """

    name: str
    port: int
    called: str
    stored: Callable[[], int] | None
    forget: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Product:
    """Our listener with its ingester and Postgres, and with workers where ``serve`` is meant."""

    stack: Stack
    engine: Engine

    @property
    def receiver(self) -> Receiver:
        """The listener, as one of several."""
        return Receiver("neurotriage", self.port, self.stack.settings.listener.ae_title, self.recorded)

    @property
    def port(self) -> int:
        return self.stack.settings.listener.port

    @property
    def listener(self) -> int:
        """Process id at the head of all processes of the listener."""
        return self.stack.process("listen").pid

    def scalar(self, query: str) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text(query)).scalar() or 0)

    def recorded(self) -> int:
        """Instances that have a row."""
        return self.scalar("select count(*) from instances")

    def traces(self) -> int:
        """Receptions that left a row: recorded, received once more, or set aside."""
        rows = self.scalar("select sum(times_received) from instances")
        return rows + self.scalar("select count(*) from quarantined where kind = 'instance'")

    def spooled(self) -> int:
        """Instances that were answered 0x0000 and have no row yet."""
        return len(list((self.stack.settings.storage.root / "spool").glob("*/new/*.dcm")))

    def seconds_until(self, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> float:
        """Wait for it; how long it took. Raises ``TimeoutError``."""
        begun = time.monotonic()
        while not condition():
            if time.monotonic() - begun > patience_s:
                raise TimeoutError(f"not within {patience_s:g} s; the listener's log: {self.log()}")
            time.sleep(_POLL_S)
        return time.monotonic() - begun

    def log(self) -> Path:
        """The listener's log."""
        return self.stack.log("listen")


@contextmanager
def product(
    folder: Path,
    *,
    roles: Sequence[str] = tuple(ROLES),
    durable: bool = True,
    settings: Mapping[str, object] | None = None,
) -> Iterator[Product]:
    """Ours, by default as ``neurotriage serve`` runs it: Postgres with fsync, workers beside.

    No study gets quiet or a first look, and no engine is measured, so that no analysis disturbs.
    """
    defaults = {
        "listener": {"port": 0},
        "assembly": {"quiet_s": NEVER_QUIET_S, "released_quiet_s": NEVER_QUIET_S, "first_looks": 0},
        "storage": {"root": folder / "storage", "min_free_bytes": 0},
        "worker": {"engine": "openvino"},
    }
    wanted = Settings.model_validate({**defaults, **(settings or {})})
    with Stack(wanted, folder / "servers", ephemeral=not durable, roles=tuple(roles)) as stack:
        engine = connect(stack.settings.database.url)
        try:
            yield Product(stack, engine)
        finally:
            engine.dispose()
            stack.postgres.remove()


@contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    """Orthanc as it comes: its own storage and SQLite index, each file synced (``SyncStorageArea``)."""
    http_port, port = free_port(), free_port()
    configuration = {
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "Plugins": [],
        "HttpPort": http_port,
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "AuthenticationEnabled": False,
    }
    folder.mkdir(parents=True)
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration))

    def stored() -> int:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{http_port}/statistics", timeout=20) as answer:
            return int(json.load(answer)["CountInstances"])

    with _running(["Orthanc", str(file)], folder / "log", port):
        yield Receiver("Orthanc", port, "ORTHANC", stored)


@contextmanager
def storescp(folder: Path, *, keeping: bool = True) -> Iterator[Receiver]:
    """DCMTK's storescp with a process for each association, without fsync; or one that keeps nothing."""
    port, files = free_port(), folder / "files"
    files.mkdir(parents=True)
    how = ["-od", str(files)] if keeping else ["--ignore"]
    with _running(["storescp", "--fork", *how, str(port)], folder / "log", port):
        if keeping:
            stored, forget = partial(_count, files), partial(_empty, files)
            yield Receiver("storescp", port, "STORESCP", stored, forget)
        else:
            yield Receiver("senders alone", port, "STORESCP", None)


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _empty(folder: Path) -> None:
    """Cut its files; where ext4 has no journal, deleted ones slow down whoever creates others for minutes."""
    for path in folder.iterdir():
        os.truncate(path, 0)


@contextmanager
def _running(command: Sequence[str], log: Path, port: int) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **_NO_DELAY})
    try:
        _await_port(process, port, log)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
        except OSError:
            time.sleep(_POLL_S)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen: {log.read_text()[-1000:]}")


def storescu(receiver: Receiver, shares: Sequence[Path], calling: str = "STORESCU") -> float:
    """Send each folder by a ``storescu`` of its own, all at once; seconds until the last one ended.

    Raises ``RuntimeError`` where one of them was not answered 0x0000 for each file.
    """
    address = ["-aet", calling, "-aec", receiver.called, LOOPBACK, str(receiver.port)]
    begun = time.perf_counter()
    senders = [
        subprocess.Popen(
            ["storescu", "-x=", "+sd", "+r", *address, str(share)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **_NO_DELAY},
        )
        for share in shares
    ]
    errors = [sender.communicate(timeout=PATIENCE_S)[1] for sender in senders]
    seconds = time.perf_counter() - begun
    for sender, error in zip(senders, errors, strict=True):
        if sender.returncode:
            raise RuntimeError(f"{receiver.name}, exit code {sender.returncode}: {error.decode()[-500:]}")
    return seconds
