"""``neurotriage serve``: the whole product on one host."""

import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import typer

from neurotriage.cli.serve_discovery import Serving, names_servers, serve_folder
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import load_settings, require_protected_ports

_LOOK_EVERY_S = 1.0


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve() -> None:
    """Run everything on this host: servers, listener, workers.

    Postgres and Valkey are its own; data and logs lie below [storage] root. While it runs, results, why,
    retry, reprocess, recall and doctor use its database. Ctrl-C stops it.

    Example: neurotriage serve
    """
    from neurotriage.embedded.restarts import Restarts
    from neurotriage.embedded.stack import Stack

    settings = load_settings()
    require_protected_ports(settings)
    if settings.selection.rules is not None:  # a worker that cannot use them would be started over and over
        from worker.selection import read_rules

        read_rules(settings.selection.rules)
    folder = serve_folder(settings)
    storage = settings.storage.model_copy(update={"root": folder.parent})
    settings = settings.model_copy(update={"storage": storage})
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if names_servers(settings):
        typer.echo(
            "serve does not use [database] and [broker]; other commands do, and see none of its studies",
            err=True,
        )
    with Serving(folder) as serving, Stack(settings, folder) as stack:
        serving.publish(stack.settings)
        listener = stack.settings.listener
        typer.echo(f"listening as {listener.ae_title} on {listener.host}:{listener.port}; Ctrl-C stops")
        if stack.settings.stow is not None:
            typer.echo(f"STOW-RS on {stack.settings.stow.host}:{stack.settings.stow.port}")
        typer.echo(f"logs: {_relative(stack.folder)}")
        restarts = Restarts()
        while not stop.wait(_LOOK_EVERY_S):
            for name, log in stack.dead().items():
                if stop.is_set():
                    break
                if not restarts.due(name, time.monotonic()):
                    continue
                _warn(f"{name} ended and is started again; the end of its log:\n{log}")
                try:
                    stack.start_again(name, stop.is_set)
                except (Unavailable, OSError) as error:
                    _warn(str(error))


def _warn(sentence: str) -> None:
    """Print to stderr; on a full disk or a closed terminal it is lost, and serving goes on."""
    with suppress(OSError, ValueError):
        typer.echo(sentence, err=True)


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
