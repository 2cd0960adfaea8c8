"""Connections of STOW-RS: counted from the moment they are accepted, each wait of theirs with a deadline."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dicom_listener.admission.tls import (
    HANDSHAKE_DEADLINE_S,
    PeerCertificate,
    ReloadedContext,
    cause,
    certificate_of,
)

log = structlog.get_logger()

_HEADERS_WITHIN_S: Final = 10.0
_PER_ADDRESS_SHARE: Final = 2  # one address holds at most half of the connections
# Where no connection can be accepted for lack of file descriptors.
_ACCEPT_PAUSE_S: Final = 0.2
_TLS_DEADLINES: Final = {
    "ssl_handshake_timeout": HANDSHAKE_DEADLINE_S,
    "ssl_shutdown_timeout": HANDSHAKE_DEADLINE_S,
}


class _Connections:
    """Open connections by address."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def take(self, host: str) -> bool:
        """A place for one more of an address, if one is left."""
        if self._open.total() >= self._limit or self._open[host] >= self._limit // _PER_ADDRESS_SHARE:
            return False
        self._open[host] += 1
        return True

    def give_back(self, host: str) -> None:
        """The place of a connection that has ended."""
        self._open[host] -= 1
        if not self._open[host]:
            del self._open[host]


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 that ends where the headers of a request are not whole in time."""

    _headers_due: asyncio.TimerHandle | None = None
    ended: asyncio.Future[None]  # from the time at which the connection is made

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.ended = self.loop.create_future()
        self.app_state = {**self.app_state, "certificate": _certificate(transport)}
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_headers()
        else:
            self._stop_waiting()

    def _await_headers(self) -> None:
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(_HEADERS_WITHIN_S, self._without_headers)

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _without_headers(self) -> None:
        log.warning("connection_without_request", peer_host=self.client[0] if self.client else "")
        self.transport.abort()


def _certificate(transport: asyncio.Transport) -> PeerCertificate | None:
    """Of the client, which the handshake has checked; None without one."""
    encrypted: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return certificate_of(encrypted) if encrypted is not None else None


class Server(uvicorn.Server):
    """uvicorn behind sockets that we accept ourselves; its own counts no handshake, and gives it 60 s."""

    def __init__(self, config: uvicorn.Config, max_connections: int, tls: ReloadedContext | None) -> None:
        super().__init__(config)
        self._connections, self._tls = _Connections(max_connections), tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.servers = []

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to our process, whose ``stop`` they set."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections of ``sockets``."""
        await self.lifespan.startup()
        for listening in sockets or ():
            listening.setblocking(False)
            self._run(self._accept(listening))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, end handshakes, and let requests come to their end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().shutdown(sockets)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:
                log.error("cannot_accept", error=error.strerror)
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            host = str(address[0])
            if self._connections.take(host):
                self._run(self._hold(connection, host))
            else:
                log.warning("connection_refused", peer_host=host, reason="as many as are allowed are open")
                connection.close()

    async def _hold(self, connection: socket.socket, host: str) -> None:
        """Serve a connection; it has its place until it is closed."""
        protocol = BoundedProtocol(self.config, self.server_state, self.lifespan.state)
        options: dict[str, Any] = {}
        try:
            if self._tls is not None:
                options = {"ssl": self._tls.current(), **_TLS_DEADLINES}
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: protocol, connection, **options)
        except Exception as error:  # noqa: BLE001 - whatever a client's bytes lead OpenSSL to
            log.warning("handshake_failed", peer_host=host, reason=cause(error))
            connection.close()
        else:
            await protocol.ended
        finally:
            self._connections.give_back(host)
