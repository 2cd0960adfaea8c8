"""The whole product as children of this process: Postgres, Valkey, listener and workers."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from db import migrate
from db.engine import connect
from neurotriage.core.errors import Unavailable
from neurotriage.core.process.own_port import cannot_bind, reached_at
from neurotriage.core.process.role import Role
from neurotriage.core.settings import (
    BrokerSettings,
    DatabaseSettings,
    ListenerSettings,
    Settings,
    environment_of,
)
from neurotriage.core.storage import make_private
from neurotriage.embedded.postgres import EmbeddedPostgres
from neurotriage.embedded.process import end, free_port, log_tail, spawn
from neurotriage.embedded.server import EmbeddedServer
from neurotriage.embedded.valkey import EmbeddedValkey

# Each role with its command line; the same that the services of a real installation run.
ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "listen": ("listen",),
    Role.ANALYSIS: ("work", "--role", Role.ANALYSIS),
    Role.DELIVERY: ("work", "--role", Role.DELIVERY),
}
# Started where the configuration asks for them.
STOW: Final = "stow"
METRICS: Final = "metrics"
WATCH: Final = "watch"
ASKED_FOR: Final[Mapping[str, tuple[str, ...]]] = {
    STOW: (STOW,),
    METRICS: (METRICS,),
    WATCH: (WATCH,),
    Role.SUMMARY: ("work", "--role", Role.SUMMARY),
}
_LISTENING_WITHIN_S: Final = 60.0
_POLITE_STOP_S: Final = 15.0
_POLL_S: Final = 0.05


def _require_free(listener: ListenerSettings) -> None:
    """Raise ``Unavailable`` if another program has the port: it would be taken for our listener."""
    problem = cannot_bind(listener.host, listener.port)
    if problem is not None:
        where = f"[listener] host and port, {listener.host}:{listener.port}"
        raise Unavailable(f"{where}, cannot be used: {problem.strerror}")


def _asked_for(settings: Settings, roles: tuple[str, ...]) -> Iterator[str]:
    """The services that the configuration asks for, each beside the role that it belongs to."""
    if settings.stow is not None and "listen" in roles:
        yield STOW
    if settings.summary.asks and Role.ANALYSIS in roles:
        yield Role.SUMMARY
    if settings.metrics is not None:
        yield METRICS
    if settings.alarms is not None:
        yield WATCH


class Stack:
    """The whole product on one host. ``with Stack(settings, folder) as stack: ...``

    ``folder`` holds the servers' data and every log. A listener port of 0 takes a free one;
    ``stack.settings`` says which. ``ephemeral``: for demo and tests; without fsync, and the database goes
    with the stack. Use it from the main thread.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        ephemeral: bool = False,
        roles: tuple[str, ...] = tuple(ROLES),
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.postgres = EmbeddedPostgres(folder / "postgres", durable=not ephemeral)
        self.valkey = EmbeddedValkey(folder / "valkey", durable=not ephemeral)
        self._roles = (*roles, *_asked_for(settings, roles))
        self._ephemeral = ephemeral
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self.start_servers()
            for role in self._roles:
                self.start(role)
            if "listen" in self._roles:
                self.await_listener()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start_servers(self) -> None:
        """Start Postgres and Valkey, migrate the database, choose the listener's port.

        Raises ``Unavailable`` if another program has that port, or a server does not start.
        """
        make_private(self.folder)
        listener = self.settings.listener
        if listener.port == 0:
            listener = listener.model_copy(update={"port": free_port()})
        elif "listen" in self._roles:
            _require_free(listener)
        self.settings = self.settings.model_copy(
            update={
                "database": DatabaseSettings(url=self.postgres.start()),
                "broker": BrokerSettings(url=self.valkey.start()),
                "listener": listener,
            }
        )
        engine = connect(self.settings.database.url)
        migrate.upgrade(engine)
        engine.dispose()

    def start(self, role: str) -> subprocess.Popen[bytes]:
        """Start a role as ``python -m neurotriage ...``; its log is ``<role>.log``."""
        environment = {**os.environ, **environment_of(self.settings)}
        self._processes[role] = spawn(
            [sys.executable, "-m", "neurotriage", *{**ROLES, **ASKED_FOR}[role]],
            self.log(role),
            cwd=self.folder,
            death_signal=signal.SIGTERM,
            environment=environment,
        )
        return self._processes[role]

    def process(self, role: str) -> subprocess.Popen[bytes]:
        return self._processes[role]

    def log(self, role: str) -> Path:
        return self.folder / f"{role}.log"

    def await_listener(self) -> None:
        """Wait until the listener accepts connections. Raises ``Unavailable`` with the end of its log."""
        deadline = time.monotonic() + _LISTENING_WITHIN_S
        listener = self.settings.listener
        address = reached_at(listener.host), listener.port
        while time.monotonic() < deadline:
            if self._processes["listen"].poll() is not None:
                break
            try:
                socket.create_connection(address, timeout=1).close()
            except OSError:
                time.sleep(_POLL_S)
            else:
                return
        raise Unavailable(f"the listener did not start:\n{log_tail(self.log('listen'))}")

    def dead(self) -> dict[str, str]:
        """The servers and roles that ended by themselves, with the end of their logs; servers first."""
        servers = {
            name: log_tail(server.log) for name, server in self._servers.items() if server.ended_by_itself
        }
        roles = {
            role: log_tail(self.log(role))
            for role, process in self._processes.items()
            if process.poll() is not None
        }
        return servers | roles

    def start_again(self, name: str, stopping: Callable[[], bool]) -> None:
        """Start a server or role of ``dead`` again. A server keeps its port, so its URL stays valid.

        Waits for a server until ``stopping()`` is true. Raises ``Unavailable`` if it does not start or its
        data are gone, and ``OSError`` if the folder cannot be written.
        """
        if name in self._servers:
            self._servers[name].start_again(stopping)
        else:
            self.start(name)

    @property
    def _servers(self) -> dict[str, EmbeddedServer]:
        return {server.name: server for server in (self.postgres, self.valkey)}

    def stop(self) -> None:
        """Stop all roles, then the servers that they use."""
        for role in list(self._processes):
            process = self._processes[role]
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for role in list(self._processes):
            end(self._processes.pop(role), signal.SIGTERM, _POLITE_STOP_S)
        self.valkey.stop()
        self.postgres.stop()
        if self._ephemeral:
            self.postgres.remove()
