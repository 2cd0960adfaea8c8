"""Metrics and health by HTTP: one service for the installation, since tables know what every process does."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from neurotriage.core.settings import MetricsSettings, Settings
from neurotriage.core.storage import Storage
from neurotriage.operations.metrics import families
from neurotriage.operations.readiness import alive, not_ready
from neurotriage.operations.reading import gather, wanted
from neurotriage.operations.roles import needed_roles
from neurotriage.operations.snapshot import make_snapshot
from neurotriage.operations.values import Snapshot

log = structlog.get_logger()

_MAX_REQUESTS: Final = 32
_KEEP_ALIVE_S: Final = 5
_STOP_WITHIN_S: Final = 10


class CachedSnapshot:
    """The snapshot, taken anew where it is older than ``keep_s``: however many ask, tables are asked once."""

    def __init__(self, engine: Engine, settings: Settings, *, keep_s: float) -> None:
        self._engine, self._settings, self._keep_s = engine, settings, keep_s
        self._lock = threading.Lock()
        self._taken: tuple[float, Snapshot] | None = None

    def get(self) -> Snapshot:
        """Blocks while tables are asked."""
        with self._lock:
            if self._taken is None or time.monotonic() - self._taken[0] >= self._keep_s:
                facts = gather(self._engine, Storage(self._settings.storage.root), wanted(self._settings))
                self._taken = time.monotonic(), make_snapshot(facts, self._settings)
            return self._taken[1]


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to our process, whose ``stop`` they set."""
        yield


class _Scrape(Collector):
    def __init__(self, snapshot: Snapshot, settings: Settings) -> None:
        self._snapshot, self._settings = snapshot, settings

    def collect(self) -> Iterator[GaugeMetricFamily]:
        return families(self._snapshot, self._settings)


def exposition(snapshot: Snapshot, settings: Settings) -> bytes:
    """The metrics in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(snapshot, settings))
    return generate_latest(registry)


def application(cached: CachedSnapshot, settings: Settings) -> Starlette:
    """``/metrics``; ``/livez`` and ``/readyz``, each also of one role, and with ``?host=`` of one host."""

    def metrics(_: Request) -> Response:
        return Response(exposition(cached.get(), settings), media_type=CONTENT_TYPE_LATEST)

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")  # the loop of this service moves

    def livez_role(request: Request) -> Response:
        role = request.path_params["role"]
        if role not in needed_roles(settings):
            return PlainTextResponse("there is no such role here\n", status_code=404)
        runs = alive(cached.get(), role, request.query_params.get("host", ""))
        return _answer("" if runs else f"no process of the role {role} has told within a minute that it runs")

    def readyz(request: Request) -> Response:
        causes = not_ready(cached.get(), settings, request.query_params.get("host", ""))
        role = request.path_params.get("role")
        if role is not None:
            if role not in causes:
                return PlainTextResponse("there is no such role here\n", status_code=404)
            return _answer(causes[role])
        return _answer("\n".join(f"{name}: {why}" for name, why in causes.items() if why))

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/livez", livez),
            Route("/livez/{role}", livez_role),
            Route("/readyz", readyz),
            Route("/readyz/{role}", readyz),
        ]
    )


def _answer(why_not: str) -> Response:
    return PlainTextResponse(f"{why_not or 'ok'}\n", status_code=503 if why_not else 200)


def run(
    engine: Engine,
    settings: Settings,
    metrics: MetricsSettings,
    stop: threading.Event,
    on_started: Callable[[int], None],
) -> None:
    """Answer until ``stop`` is set. ``on_started`` gets the port. Raises ``OSError`` where it is taken."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    cached = CachedSnapshot(engine, settings, keep_s=metrics.cache_s)
    server = _Server(
        uvicorn.Config(
            application(cached, settings),
            ws="none",
            lifespan="off",
            loop="asyncio",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_REQUESTS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_STOP_WITHIN_S,
        )
    )
    try:
        listening = socket.create_server((metrics.host, metrics.port))
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), f"{metrics.host}:{metrics.port}") from error
    with listening:
        asyncio.run(_serve(server, listening, stop, on_started))


async def _serve(
    server: _Server, listening: socket.socket, stop: threading.Event, on_started: Callable[[int], None]
) -> None:
    serving = asyncio.create_task(server.serve([listening]))
    port = int(listening.getsockname()[1])
    log.info("metrics_served", port=port)
    on_started(port)
    while not serving.done():
        server.should_exit = stop.is_set()
        await asyncio.sleep(0.1)
    await serving
