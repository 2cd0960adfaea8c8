"""The STOW-RS process: its socket and TLS, from its start to its end."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
import uvicorn

from dicom_listener.admission.quotas import Quotas
from dicom_listener.admission.tls import ReloadedContext
from dicom_listener.spool import open_spool
from dicom_listener.stow.connections import BoundedProtocol, Server
from dicom_listener.stow.service import StowService
from neurotriage.core.settings import ConfigurationError, Settings, StowSettings, is_loopback
from neurotriage.core.storage import Storage

log = structlog.get_logger()

SPOOL: Final = "stow"
_HEADER_LIMIT_BYTES: Final = 1 << 15
_KEEP_ALIVE_S: Final = 5
_SAVE_INTERVAL_S: Final = 5.0
_STOP_WITHIN_S: Final = 10
_CONNECTIONS_PER_PLACE: Final = 4  # connections that wait for a request, or for a place


def require_encryption(stow: StowSettings) -> None:
    """Raise ``ConfigurationError`` where tokens and images would cross a network in the clear, unsaid."""
    if stow.tls is None and not stow.unencrypted and not is_loopback(stow.host):
        raise ConfigurationError(
            f"stow: {stow.host} is reached through a network, and [stow.tls] is not set. Set it, or say "
            "unencrypted = true where something else encrypts"
        )


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
        tls = None if stow.tls is None else ReloadedContext(stow.tls, "stow.tls")
        max_connections = _CONNECTIONS_PER_PLACE * stow.max_requests
        quotas = Quotas(Storage(settings.storage.root).spool(SPOOL) / "quotas.json")
        service = StowService(settings, stow, spool, quotas)
        server = Server(_configuration(service), max_connections, tls)
        with _bound(stow) as listening:
            asyncio.run(_serve(server, service, listening, stop, on_started))
    finally:
        spool.close()
        log.info("stopped_listening_for_web")


async def _serve(
    server: Server,
    service: StowService,
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
    save_at = time.monotonic() + _SAVE_INTERVAL_S
    while not serving.done():
        server.should_exit = stop.is_set()
        await asyncio.sleep(0.1)
        if time.monotonic() >= save_at:
            await service.save()
            save_at = time.monotonic() + _SAVE_INTERVAL_S
    await service.save()
    await serving


def _bound(stow: StowSettings) -> socket.socket:
    try:
        return socket.create_server((stow.host, stow.port), backlog=128, reuse_port=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), f"{stow.host}:{stow.port}") from error


def _configuration(service: StowService) -> uvicorn.Config:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return uvicorn.Config(
        service.app,
        http=BoundedProtocol,
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
