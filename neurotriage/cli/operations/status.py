"""``neurotriage status``: how the installation stands."""

import time
from typing import TYPE_CHECKING

import typer

from neurotriage.cli import database
from neurotriage.cli.serve_discovery import settings_beside_serve
from neurotriage.core.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from neurotriage.operations import Snapshot


def register(app: typer.Typer) -> None:
    app.command()(status)


def status(
    as_json: bool = typer.Option(False, "--json", help="Print JSON, as docs/status.schema.json describes."),
    watch: float | None = typer.Option(
        None, "--watch", min=1.0, help="Show it anew every so many SECONDS, until Ctrl-C."
    ),
) -> None:
    """Show how the installation stands.

    Alarms, queue, processes, rates, times, disk, destinations. Changes nothing. Exit 1 if something could not
    be asked.

    Example: neurotriage status --watch 5
    """
    from db.engine import connect

    if as_json and watch is not None:
        raise typer.BadParameter("--json and --watch exclude each other")
    settings = settings_beside_serve()
    engine = connect(settings.database.url, pool_size=1)
    try:
        if watch is not None:
            _watch(engine, settings, every_s=watch)
            return
        snapshot = _snapshot(engine, settings)
        _print(snapshot, as_json=as_json)
        if snapshot.missing:
            if advice := database.remedy(engine, settings):
                typer.echo(advice, err=True)
            raise typer.Exit(1)
    finally:
        engine.dispose()


def _snapshot(engine: "Engine", settings: Settings) -> "Snapshot":
    from neurotriage.core.storage import Storage
    from neurotriage.operations import gather, make_snapshot, wanted

    return make_snapshot(gather(engine, Storage(settings.storage.root), wanted(settings)), settings)


def _print(snapshot: "Snapshot", *, as_json: bool) -> None:
    if as_json:
        from neurotriage.operations.document import to_json

        typer.echo(to_json(snapshot))
        return
    from rich.console import Console

    from neurotriage.cli.operations.status_tables import shown
    from neurotriage.cli.tables import terminal_width

    Console(width=terminal_width()).print(shown(snapshot))


def _watch(engine: "Engine", settings: Settings, *, every_s: float) -> None:
    """Show it until Ctrl-C. What cannot be asked is shown so, and asked again."""
    from rich.live import Live

    from neurotriage.cli.operations.status_tables import shown

    try:
        with Live(shown(_snapshot(engine, settings)), auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(every_s)
                live.update(shown(_snapshot(engine, settings)), refresh=True)
    except KeyboardInterrupt:
        return
