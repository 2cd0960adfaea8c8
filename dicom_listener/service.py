"""The listener service: DICOM listener, ingest, assembly and sweep."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final

import structlog

from db.engine import connect
from dicom_listener.assembly import Assembler
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
# One step of ingest waits this long for a header.
_STEP_S: Final = 0.05
_ASSEMBLE_EVERY_S: Final = 0.25
_FIRST_BACK_OFF_S: Final = 0.5
_LONGEST_BACK_OFF_S: Final = 5.0
# A thread that waits for Postgres or the broker notices within this time that it should stop.
_JOIN_S: Final = 15.0
_WATCH_INTERVAL_S: Final = 1.0


class ThreadEnded(Exception):
    """A thread of the service ended by itself: the process must end and be restarted."""


def run(
    settings: Settings,
    stop: threading.Event,
    on_started: Callable[[int], None] | None = None,
    name: str = "main",
) -> None:
    """Receive studies until ``stop`` is set. ``on_started`` gets the port once the listener accepts.

    Instances are received while Postgres or the broker is down, and recorded when they are back. ``name`` is
    that of the spool. Raises ``Unavailable`` or ``OSError`` where the listener cannot start, and
    ``ThreadEnded`` where a thread ended by itself.
    """
    listener = Listener(settings, name)
    port = listener.start()
    frozen = threading.Event()
    loops = [
        _Loop("ingest", lambda: _ingest(settings, listener, stop, frozen)),
        _Loop("sweep", lambda: _sweep(settings, stop, frozen)),
    ]
    for loop in loops:
        loop.start()
    try:
        if on_started is not None:
            on_started(port)
        # Python runs no signal handler while the main thread waits without a timeout: a SIGTERM just before
        # the wait would never be handled.
        while not stop.wait(_WATCH_INTERVAL_S):
            _require_alive(listener, loops)
    finally:
        stop.set()
        frozen.set()
        listener.stop()
        for loop in loops:
            loop.join(_JOIN_S)


class _Loop(threading.Thread):
    """A thread that logs the error that ends it."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work

    def run(self) -> None:
        try:
            self._work()
        except BaseException:
            log.critical("thread_failed", thread=self.name, exc_info=True)


def _require_alive(listener: Listener, loops: Sequence[_Loop]) -> None:
    """Raise ``ThreadEnded`` where a thread has ended: senders could not tell that nothing is processed."""
    ended = [loop.name for loop in loops if not loop.is_alive()]
    if not listener.accepts:
        ended.append("listener")
    if ended:
        log.critical("thread_ended", threads=ended)
        raise ThreadEnded(", ".join(ended))


def _ingest(settings: Settings, listener: Listener, stop: threading.Event, frozen: threading.Event) -> None:
    """Record spooled files, and freeze each study once it is quiet."""
    engine = connect(settings.database.url)
    storage = Storage(settings.storage.root)
    quarantine = Quarantine(engine, storage)
    assembler = Assembler(engine, settings)
    assemble_at = 0.0

    def freeze() -> None:
        nonlocal assemble_at
        if time.monotonic() < assemble_at:
            return
        assemble_at = time.monotonic() + _ASSEMBLE_EVERY_S
        ingest_notes(engine, listener.spool, quarantine)
        if assembler.step(ingest.backlog()):
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

        def ingest_step() -> None:
            done = ingest.step(_STEP_S)
            if done != Ingested():
                log.info("ingested", **asdict(done))

        # An error of one step must not stop the other.
        _repeat("ingest", (ingest_step, freeze), stop, lambda: stop.wait(_PAUSE_S if ingest.idle else 0.0))
    engine.dispose()


def _sweep(settings: Settings, stop: threading.Event, frozen: threading.Event) -> None:
    """Sweep as soon as a study is frozen, and every ``[worker] sweep_s``."""
    engine = connect(settings.database.url)
    app = celery_app(settings)

    def sweep_step() -> None:
        frozen.clear()
        if sweep(engine, app, settings) is None:
            frozen.set()  # another process sweeps, and may have missed our study

    def pause() -> None:
        frozen.wait(settings.worker.sweep_s)
        stop.wait(_PAUSE_S)

    _repeat("sweep", (sweep_step,), stop, pause)
    engine.dispose()


def _repeat(
    name: str, steps: Sequence[Callable[[], None]], stop: threading.Event, pause: Callable[[], object]
) -> None:
    """Run all steps until ``stop``; an error stops no other step and is followed by a bounded back-off."""
    back_off_s = 0.0
    while not stop.is_set():
        errors = [error for error in map(_error_of, steps) if error is not None]
        if not errors:
            back_off_s = 0.0
            pause()
            continue
        back_off_s = min(max(2 * back_off_s, _FIRST_BACK_OFF_S), _LONGEST_BACK_OFF_S)
        for error in errors:
            if isinstance(error, Unavailable):
                log.warning("unavailable", loop=name, error=str(error), again_in_s=back_off_s)
            else:  # a bug; each step is idempotent
                log.error("loop_failed", loop=name, exc_info=error, again_in_s=back_off_s)
        stop.wait(back_off_s)


def _error_of(step: Callable[[], None]) -> Exception | None:
    try:
        step()
    except Exception as error:  # noqa: BLE001 - logged by the caller
        return error
    return None
