"""The STOW-RS process: sockets, TLS, and connections that do not get to a request."""

import asyncio
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dicom_listener.admission.tls import PeerCertificate, certificate_of
from dicom_listener.spool import Spool, open_spool
from dicom_listener.stow.service import StowService
from neurotriage.core.settings import ConfigurationError, Settings, StowSettings, is_loopback

log = structlog.get_logger()

SPOOL: Final = "stow"
_HEADER_LIMIT_BYTES: Final = 1 << 15
_HEADERS_WITHIN_S: Final = 10.0
_KEEP_ALIVE_S: Final = 5
_STOP_WITHIN_S: Final = 10
_CONNECTIONS_PER_PLACE: Final = 4  # connections that wait for a request, or for a place
_PER_ADDRESS_SHARE: Final = 2  # one address holds at most half of them


class _Connections:
    """Open connections by address."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def take(self, host: str) -> bool:
        if self._open.total() >= self._limit or self._open[host] >= self._limit // _PER_ADDRESS_SHARE:
            return False
        self._open[host] += 1
        return True

    def give_back(self, host: str) -> None:
        self._open[host] -= 1
        if not self._open[host]:
            del self._open[host]


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to our process, whose ``stop`` they set."""
        yield


def _protocol(connections: _Connections) -> type[H11Protocol]:
    class BoundedProtocol(H11Protocol):
        """HTTP/1.1 with a bound of connections, and of the time until the headers of a request are whole."""

        _taken: str | None = None
        _headers_due: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            host = self.client[0] if self.client else ""
            if not connections.take(host):
                log.warning("connection_refused", peer_host=host, reason="as many as are allowed are open")
                transport.abort()
                return
            self._taken = host
            self.app_state = {**self.app_state, "certificate": _certificate(transport)}
            self._await_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            if self._taken is not None:
                connections.give_back(self._taken)
                self._taken = None
            super().connection_lost(exc)

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
            log.warning("connection_without_request", peer_host=self._taken)
            self.transport.abort()

    return BoundedProtocol


def _certificate(transport: asyncio.Transport) -> PeerCertificate | None:
    """Of the client, which the handshake has checked; None without one."""
    encrypted: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return certificate_of(encrypted) if encrypted is not None else None


def require_encryption(stow: StowSettings) -> None:
    """Raise ``ConfigurationError`` where tokens and images would cross a network in the clear, unsaid."""
    if stow.tls is None and not stow.unencrypted and not is_loopback(stow.host):
        raise ConfigurationError(
            f"stow: {stow.host} is reached through a network, and [stow.tls] is not set. Set it, or say "
            "unencrypted = true where something else encrypts"
        )
    if stow.tls is not None and (stow.tls.certificate is None or stow.tls.key is None):
        raise ConfigurationError("stow.tls: certificate and key are needed")


def run(
    settings: Settings,
    stow: StowSettings,
    stop: threading.Event,
    on_started: Callable[[int], None] | None = None,
) -> None:
    """Take studies until ``stop`` is set. ``on_started`` gets the port once requests are accepted.

    Raises ``ConfigurationError``, ``Unavailable`` and ``OSError`` where the service cannot start.
    """
    require_encryption(stow)
    spool = open_spool(settings.storage, SPOOL)
    spool.recover()
    try:
        server = _Server(_configuration(settings, stow, spool))
        with _bound(stow) as listening:
            asyncio.run(_serve(server, listening, stop, on_started))
    finally:
        spool.close()
        log.info("stopped_listening_for_web")


async def _serve(
    server: _Server,
    listening: socket.socket,
    stop: threading.Event,
    on_started: Callable[[int], None] | None,
) -> None:
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started:
        host, port = listening.getsockname()[:2]
        log.info("listening_for_web", host=host, port=port)
        if on_started is not None:
            on_started(int(port))
    while not serving.done():
        server.should_exit = stop.is_set()
        await asyncio.sleep(0.1)
    await serving


def _bound(stow: StowSettings) -> socket.socket:
    try:
        return socket.create_server((stow.host, stow.port), backlog=128, reuse_port=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), f"{stow.host}:{stow.port}") from error


def _configuration(settings: Settings, stow: StowSettings, spool: Spool) -> uvicorn.Config:
    connections = _Connections(_CONNECTIONS_PER_PLACE * stow.max_requests)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        StowService(settings, stow, spool).app,
        http=_protocol(connections),
        ws="none",
        lifespan="off",
        loop="asyncio",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_HEADER_LIMIT_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )
    config.load()
    if stow.tls is not None:
        config.ssl = server_context(stow)
    return config


def server_context(stow: StowSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer (PS3.15 B.9, BCP 195); with ``ca`` a client needs a certificate of it.

    Raises ``ConfigurationError`` where a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    tls = stow.tls
    try:
        if tls is not None and tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
            if tls.ca is not None:
                context.load_verify_locations(tls.ca)
                context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigurationError(f"stow.tls: the files cannot be used: {reason}") from error
    return context
