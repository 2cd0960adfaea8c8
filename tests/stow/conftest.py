"""The service with two peers, as an app in a thread of this process; and what a client sends."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dicom_listener.spool import Spool, read_received
from dicom_listener.stow.server import run
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage

TOKEN = "f3b9c1d2e4a5968778695a4b"
OTHER_TOKEN = "0123456789abcdef01234567"
BOUNDARY = "boundary-of-a-test"
HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
    "Accept": "application/dicom+json",
}


def body(*files: bytes) -> bytes:
    """A multipart message of these files."""
    parts = [
        f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file + b"\r\n" for file in files
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Service:
    """A running service and its spool."""

    url: str
    port: int
    settings: Settings
    spool: Spool
    stop: Callable[[], None]

    @property
    def uids(self) -> list[str]:
        return [read_received(path).reception.affected_sop_instance_uid for path in self.spool.waiting()]

    @property
    def unfinished(self) -> list[Path]:
        return list((self.settings.storage.root / "spool" / "stow" / "tmp").iterdir())


def settings_of(
    tmp_path: Path, *, min_free_bytes: int = 0, max_bytes_per_day: int | None = None, **stow: Any
) -> Settings:
    """``max_bytes_per_day``: of CT1."""
    for name, token in (("ct", TOKEN), ("other", OTHER_TOKEN)):
        (tmp_path / name).write_text(f"{token}\n")
    return Settings.model_validate(
        {
            "storage": {"root": tmp_path / "storage", "min_free_bytes": min_free_bytes},
            "stow": {"port": 0, **stow},
            "peer": [
                {
                    "ae_title": "CT1",
                    "host": "127.0.0.1",
                    "token_file": tmp_path / "ct",
                    "max_bytes_per_day": max_bytes_per_day,
                },
                {"ae_title": "OTHER", "host": "127.0.0.1", "token_file": tmp_path / "other"},
                {"ae_title": "PLAIN", "host": "127.0.0.1"},
            ],
        }
    )


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start the service: ``serve(max_part_bytes=1000)``."""
    running: list[tuple[threading.Event, threading.Thread]] = []

    def start(**stow: Any) -> Service:
        settings = settings_of(tmp_path, **stow)
        assert settings.stow is not None
        ports: list[int] = []
        started, stop = threading.Event(), threading.Event()

        def on_started(port: int) -> None:
            ports.append(port)
            started.set()

        thread = threading.Thread(target=run, args=(settings, settings.stow, stop, on_started), daemon=True)
        thread.start()
        assert started.wait(20)
        running.append((stop, thread))
        scheme = "http" if settings.stow.tls is None else "https"
        spool = Spool(Storage(settings.storage.root), "stow", min_free_bytes=0)

        def end() -> None:
            stop.set()
            thread.join(20)
            assert not thread.is_alive()

        return Service(f"{scheme}://127.0.0.1:{ports[0]}", ports[0], settings, spool, end)

    yield start
    for stop, thread in running:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
