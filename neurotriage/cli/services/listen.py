"""``neurotriage listen``: receive studies and queue them."""

import signal
import threading
from typing import Final

import typer

from neurotriage.cli import database
from neurotriage.core.settings import load_settings, require_protected_ports

_EX_SOFTWARE: Final = 70  # sysexits.h


def register(app: typer.Typer) -> None:
    app.command()(listen)


def listen() -> None:
    """Receive studies.

    C-STORE listener, and ingester, assembler and sweep in a process beside it, until SIGTERM. The latter is
    started again where it ends; where the listener itself does, the exit code is 70, so that its service
    manager starts it again.

    Example: neurotriage listen
    """
    from dicom_listener.service import ListenerEnded, run  # pynetdicom takes half a second to import
    from neurotriage.core.process import running
    from neurotriage.core.process.log import set_up_logging
    from neurotriage.core.storage import Storage

    set_up_logging()
    settings = load_settings()
    require_protected_ports(settings)
    database.require_schema_apart(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Storage(settings.storage.root).shut()
    try:
        run(settings, stop, lambda _: running.note_start(settings, running.LISTENER, running.LISTENER))
    except ListenerEnded as error:
        raise typer.Exit(_EX_SOFTWARE) from error
