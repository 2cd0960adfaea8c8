"""``neurotriage watch``: tells alarms."""

import signal
import threading

import typer

from neurotriage.cli import database
from neurotriage.cli.serve_discovery import settings_beside_serve
from neurotriage.core.settings import ConfigurationError


def register(app: typer.Typer) -> None:
    app.command()(watch)


def watch() -> None:
    """Watch the installation and tell its alarms.

    By mail, webhook or command, as [alarms] says, until SIGTERM. Of several processes one acts at a time.
    `neurotriage alarms` shows what stands, and what was told.

    Example: neurotriage watch
    """
    from db.engine import connect
    from neurotriage.core.process import running
    from neurotriage.core.process.log import set_up_logging
    from neurotriage.operations.telling import watcher
    from neurotriage.operations.telling.channels import Channels, configured

    set_up_logging()
    settings = settings_beside_serve()
    if settings.alarms is None:
        raise ConfigurationError("alarms: without the table [alarms] there is nobody to tell")
    database.require_schema(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine = connect(settings.database.url, pool_size=3)  # lock, queries, presence
    channels = Channels(configured(settings.alarms), settings.alarms.limit_s)
    try:
        watcher.watch(
            engine,
            settings,
            settings.alarms,
            channels,
            stop,
            lambda: running.note_start(settings, running.WATCH, running.WATCH),
        )
    finally:
        engine.dispose()
