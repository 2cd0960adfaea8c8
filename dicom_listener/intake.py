"""The whole way in: listener, ingest, assembly and sweep, composed."""

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from db.engine import connect
from dicom_listener.assembly import assemble
from dicom_listener.dispatch import sweep
from dicom_listener.header_reader import HeaderReader
from dicom_listener.ingest import Ingested, ingest
from dicom_listener.reports import ingest_reports
from dicom_listener.server import Listener
from neurotriage.core.doorbell import celery_app
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage

log = structlog.get_logger()

_PAUSE_S: Final = 0.2
_FIRST_BACK_OFF_S: Final = 0.5
_LONGEST_BACK_OFF_S: Final = 10.0
# A thread waits at most this long for Postgres or the broker before it sees that it should stop.
_JOIN_S: Final = 15.0
_LOOK_S: Final = 1.0


def run(
    settings: Settings,
    stop: threading.Event,
    on_started: Callable[[int], None] | None = None,
    name: str = "main",
) -> None:
    """Receive studies until ``stop`` is set. ``on_started`` gets the port once the listener accepts.

    Reception goes on while Postgres or the broker is down; what waits is done when they are back.
    Raises ``Unavailable`` or ``OSError`` where the listener cannot start.
    """
    listener = Listener(settings, name)
    port = listener.start()
    frozen = threading.Event()
    loops = [
        threading.Thread(target=_take_in, args=(settings, listener, stop, frozen), name="ingest"),
        threading.Thread(target=_sweep, args=(settings, stop, frozen), name="sweep"),
    ]
    for loop in loops:
        loop.daemon = True
        loop.start()
    try:
        if on_started is not None:
            on_started(port)
        # Python runs no signal handler while the main thread waits without end: a SIGTERM that came just
        # before the wait began would never be seen.
        while not stop.wait(_LOOK_S):
            pass
    finally:
        stop.set()
        frozen.set()
        listener.stop()
        for loop in loops:
            loop.join(_JOIN_S)


def _take_in(settings: Settings, listener: Listener, stop: threading.Event, frozen: threading.Event) -> None:
    """Ingest what has come; once nothing waits any more, freeze what is complete."""
    engine = connect(settings.database.url)
    storage = Storage(settings.storage.root)

    def work() -> None:
        done = ingest(engine, storage, listener.spool, reader)
        ingest_reports(engine, storage, listener.spool, reader, settings.delivery)
        if done != Ingested():
            log.info("ingested", recorded=done.recorded, repeated=done.repeated, quarantined=done.quarantined)
        if not listener.spool.waiting() and assemble(engine, settings.assembly.quiet_s):
            frozen.set()

    with HeaderReader() as reader:
        _repeat("ingest", work, stop, lambda: stop.wait(_PAUSE_S))
    engine.dispose()


def _sweep(settings: Settings, stop: threading.Event, frozen: threading.Event) -> None:
    """Ring as soon as a study was frozen, and every ``[worker] sweep_s`` for whatever waits."""
    engine = connect(settings.database.url)
    app = celery_app(settings)

    def work() -> None:
        frozen.clear()
        if sweep(engine, app, settings) is None:
            frozen.set()  # another process sweeps, and may have looked before our study was there

    def pause() -> None:
        frozen.wait(settings.worker.sweep_s)
        stop.wait(_PAUSE_S)

    _repeat("sweep", work, stop, pause)
    engine.dispose()


def _repeat(name: str, work: Callable[[], None], stop: threading.Event, pause: Callable[[], object]) -> None:
    """Work until ``stop``, with bounded back-off through failures: reception must never end with them."""
    back_off_s = 0.0
    while not stop.is_set():
        started = time.monotonic()
        try:
            work()
        except Unavailable as error:
            back_off_s = min(max(2 * back_off_s, _FIRST_BACK_OFF_S), _LONGEST_BACK_OFF_S)
            log.warning("unavailable", loop=name, error=str(error), again_in_s=back_off_s)
            stop.wait(back_off_s)
        except Exception:  # a bug or a full disk; the next pass finds everything as it was
            back_off_s = _LONGEST_BACK_OFF_S
            log.exception("loop_failed", loop=name, after_s=round(time.monotonic() - started, 1))
            stop.wait(back_off_s)
        else:
            back_off_s = 0.0
            pause()
