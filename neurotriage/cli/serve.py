"""``neurotriage serve``: everything in one go, on one host."""

import signal
import threading
from pathlib import Path

import typer

from neurotriage.core.settings import load_settings

_LOOK_EVERY_S = 1.0


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve() -> None:
    """Run everything on this host: own Postgres and Valkey, listener and workers. Ctrl-C stops it.

    Data and logs lie below [storage] root. Example: neurotriage serve
    """
    from neurotriage.embedded.stack import Stack

    settings = load_settings()
    root = settings.storage.root.absolute()
    settings = settings.model_copy(update={"storage": settings.storage.model_copy(update={"root": root})})
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Stack(settings, root / "serve") as stack:
        listener = stack.settings.listener
        typer.echo(f"listening as {listener.ae_title} on {listener.host}:{listener.port}; Ctrl-C stops")
        typer.echo(f"logs: {_relative(stack.folder)}")
        while not stop.wait(_LOOK_EVERY_S):
            for role, log in stack.dead().items():
                typer.echo(f"{role} ended and is started again; its log ends:\n{log}", err=True)
                stack.start(role)


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
