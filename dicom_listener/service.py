"""The whole way in: listener, ingest, assembly and sweep, composed."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final

import structlog

from db.engine import connect
from dicom_listener.assembly import assemble
from dicom_listener.association.server import Listener
from dicom_listener.dispatch import sweep
from dicom_listener.ingest.header_readers import HeaderReaders
from dicom_listener.ingest.ingest import Ingest, Ingested
from dicom_listener.ingest.notes import ingest_notes
from dicom_listener.ingest.quarantine import Quarantine
from neurotriage.core.errors import Unavailable
from neurotriage.core.process.doorbell import celery_app
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage

log = structlog.get_logger()

_PAUSE_S: Final = 0.1
# How long one step waits for a header while others may come.
_STEP_S: Final = 0.05
_ASSEMBLE_EVERY_S: Final = 0.25
_FIRST_BACK_OFF_S: Final = 0.5
_LONGEST_BACK_OFF_S: Final = 5.0
# A thread waits at most this long for Postgres or the broker before it sees that it should stop.
_JOIN_S: Final = 15.0
_LOOK_S: Final = 1.0


class ThreadEnded(Exception):
    """A part of the way in has ended by itself. The process must end too, and be started anew."""


def run(
    settings: Settings,
    stop: threading.Event,
    on_started: Callable[[int], None] | None = None,
    name: str = "main",
) -> None:
    """Receive studies until ``stop`` is set. ``on_started`` gets the port once the listener accepts.

    Reception goes on while Postgres or the broker is down; what waits is done when they are back.
    Raises ``Unavailable`` or ``OSError`` where the listener cannot start, and ``ThreadEnded`` where a part
    of it ended by itself.
    """
    listener = Listener(settings, name)
    port = listener.start()
    frozen = threading.Event()
    loops = [
        _Loop("ingest", lambda: _take_in(settings, listener, stop, frozen)),
        _Loop("sweep", lambda: _sweep(settings, stop, frozen)),
    ]
    for loop in loops:
        loop.start()
    try:
        if on_started is not None:
            on_started(port)
        # Python runs no signal handler while the main thread waits without end: a SIGTERM that came just
        # before the wait began would never be seen.
        while not stop.wait(_LOOK_S):
            _require_alive(listener, loops)
    finally:
        stop.set()
        frozen.set()
        listener.stop()
        for loop in loops:
            loop.join(_JOIN_S)


class _Loop(threading.Thread):
    """A thread whose end is told, whatever ends it."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work

    def run(self) -> None:
        try:
            self._work()
        except BaseException:
            log.critical("thread_failed", thread=self.name, exc_info=True)


def _require_alive(listener: Listener, loops: Sequence[_Loop]) -> None:
    """Half a listener looks like a whole one to every sender. Raises ``ThreadEnded``."""
    ended = [loop.name for loop in loops if not loop.is_alive()]
    if not listener.accepts:
        ended.append("listener")
    if ended:
        log.critical("thread_ended", threads=ended)
        raise ThreadEnded(", ".join(ended))


def _take_in(settings: Settings, listener: Listener, stop: threading.Event, frozen: threading.Event) -> None:
    """Take in what comes, file by file, and freeze each study once it is quiet."""
    engine = connect(settings.database.url)
    storage = Storage(settings.storage.root)
    quarantine = Quarantine(engine, storage)
    assemble_at = 0.0

    def freeze() -> None:
        nonlocal assemble_at
        if time.monotonic() < assemble_at:
            return
        assemble_at = time.monotonic() + _ASSEMBLE_EVERY_S
        ingest_notes(engine, listener.spool, quarantine)
        if assemble(engine, settings.assembly.quiet_s, ingest.backlog()):
            frozen.set()

    with HeaderReaders() as readers:
        ingest = Ingest(
            engine,
            storage,
            listener.spool,
            readers,
            quarantine,
            limits=settings.delivery,
            installations=settings.listener.other_installations,
        )

        def take_in() -> None:
            done = ingest.step(_STEP_S)
            if done != Ingested():
                log.info("ingested", **asdict(done))

        # Whatever stops the one must not stop the other.
        _repeat("ingest", (take_in, freeze), stop, lambda: stop.wait(_PAUSE_S if ingest.idle else 0.0))
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

    _repeat("sweep", (work,), stop, pause)
    engine.dispose()


def _repeat(
    name: str, works: Sequence[Callable[[], None]], stop: threading.Event, pause: Callable[[], object]
) -> None:
    """Work until ``stop``, each part though another fails, with bounded back-off: it must never end so."""
    back_off_s = 0.0
    while not stop.is_set():
        errors = [error for error in map(_error_of, works) if error is not None]
        if not errors:
            back_off_s = 0.0
            pause()
            continue
        back_off_s = min(max(2 * back_off_s, _FIRST_BACK_OFF_S), _LONGEST_BACK_OFF_S)
        for error in errors:
            if isinstance(error, Unavailable):
                log.warning("unavailable", loop=name, error=str(error), again_in_s=back_off_s)
            else:  # a bug; the next pass finds everything as it was
                log.error("loop_failed", loop=name, exc_info=error, again_in_s=back_off_s)
        stop.wait(back_off_s)


def _error_of(work: Callable[[], None]) -> Exception | None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - told by the caller
        return error
    return None
