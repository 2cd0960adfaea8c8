"""``neurotriage listen``: the side before the queue."""

import signal
import threading

import typer

from neurotriage.cli import database
from neurotriage.core.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(listen)


def listen() -> None:
    """Receive studies.

    C-STORE listener, ingester, assembler and sweep in one process, until SIGTERM.

    Example: neurotriage listen
    """
    from dicom_listener.intake import run  # pynetdicom takes half a second to import
    from neurotriage.core import running
    from neurotriage.core.log import set_up_logging
    from neurotriage.core.storage import Storage

    set_up_logging()
    settings = load_settings()
    database.require_schema(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Storage(settings.storage.root).shut()
    run(settings, stop, lambda _: running.note_start(settings, running.LISTENER, running.LISTENER))
