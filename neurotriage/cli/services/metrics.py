"""``neurotriage metrics``: metrics and health by HTTP."""

import signal
import threading

import typer

from neurotriage.cli import database
from neurotriage.cli.serve_discovery import settings_beside_serve
from neurotriage.core.settings import ConfigurationError


def register(app: typer.Typer) -> None:
    app.command()(metrics)


def metrics() -> None:
    """Serve metrics and health by HTTP, as [metrics] says.

    Until SIGTERM. One service for the installation: /metrics for Prometheus, /livez and /readyz, each also of
    one role.

    Example: neurotriage metrics
    """
    from db.engine import connect
    from neurotriage.core.process import running
    from neurotriage.core.process.log import set_up_logging
    from neurotriage.operations.exporter import run

    set_up_logging()
    settings = settings_beside_serve()
    if settings.metrics is None:
        raise ConfigurationError("metrics: without the table [metrics] there is nothing to serve")
    database.require_schema(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine = connect(settings.database.url, pool_size=1)
    try:
        run(
            engine,
            settings,
            settings.metrics,
            stop,
            lambda _: running.note_start(settings, running.METRICS, running.METRICS),
        )
    finally:
        engine.dispose()
