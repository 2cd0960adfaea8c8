"""``neurotriage stow``: receive studies by STOW-RS."""

import signal
import threading

import typer

from neurotriage.core.settings import ConfigurationError, load_settings


def register(app: typer.Typer) -> None:
    app.command()(stow)


def stow() -> None:
    """Receive studies by STOW-RS, as [stow] says, until SIGTERM.

    Instances go into a spool of its own, from which `neurotriage listen` records them.

    Example: neurotriage stow
    """
    from dicom_listener.stow.server import run
    from neurotriage.core.process import running
    from neurotriage.core.process.log import set_up_logging
    from neurotriage.core.storage import Storage

    set_up_logging()
    settings = load_settings()
    if settings.stow is None:
        raise ConfigurationError("stow: without the table [stow] there is nothing to serve")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Storage(settings.storage.root).shut()
    run(settings, settings.stow, stop, lambda _: running.note_start(settings, running.STOW, running.STOW))
