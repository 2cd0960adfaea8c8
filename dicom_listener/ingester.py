"""The ingester: records what lies in the spool, freezes studies, and rings for the work that waits.

A process of its own beside the listener's (``python -m dicom_listener.ingester``), of lower priority, so that
receiving does not wait for it. It ends when its standard input is closed: nobody is left behind a killed
listener.
"""

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from db.engine import connect
from db.operations.presence import BEAT_EVERY_S, Presence
from dicom_listener.assembly import Assembler
from dicom_listener.backlog import LatestBacklog
from dicom_listener.commitment.decide import decide, some_undecided
from dicom_listener.commitment.reporter import Reporter
from dicom_listener.dispatch import sweep
from dicom_listener.hl7.drop import MergeDrop
from dicom_listener.ingest.header_readers import HeaderReaders
from dicom_listener.ingest.ingest import Ingest, Ingested
from dicom_listener.ingest.notes import ingest_notes, ingest_requests
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.spool import Spools
from neurotriage.core.errors import Unavailable
from neurotriage.core.process import running
from neurotriage.core.process.doorbell import celery_app
from neurotriage.core.process.log import set_up_logging
from neurotriage.core.process.yielding import give_way
from neurotriage.core.settings import Settings, load_settings
from neurotriage.core.storage import Storage, make_private
from neurotriage.dicom.priority import PriorityRules

log = structlog.get_logger()

_PAUSE_S: Final = 0.1
# One step of ingest waits this long for a header.
_STEP_S: Final = 0.05
_ASSEMBLE_EVERY_S: Final = 0.25
_DECIDE_EVERY_S: Final = 0.25
_REPORT_EVERY_S: Final = 2.0
_MERGE_EVERY_S: Final = 1.0
_FIRST_BACK_OFF_S: Final = 0.5
_LONGEST_BACK_OFF_S: Final = 5.0
# A thread that waits for Postgres or the broker notices within this time that it should stop.
_JOIN_S: Final = 15.0
_WATCH_INTERVAL_S: Final = 1.0
_LOCK_INTERVAL_S: Final = 0.2
_EX_SOFTWARE: Final = 70  # sysexits.h


class ThreadEnded(Exception):
    """A thread of the process ended by itself: the process must end and be restarted."""


def run(settings: Settings, stop: threading.Event) -> None:
    """Record what is received until ``stop`` is set.

    Waits for another ingester of the storage to end. Raises ``ThreadEnded`` where a thread ended by itself.
    """
    storage = Storage(settings.storage.root)
    with _alone(storage.root / "spool", stop):
        if stop.is_set():
            return
        frozen, decided, latest = threading.Event(), threading.Event(), LatestBacklog()
        loops = [
            _Loop("ingest", lambda: _ingest(settings, stop, latest)),
            _Loop("assembly", lambda: _assemble(settings, stop, latest, frozen)),
            _Loop("sweep", lambda: _sweep(settings, stop, frozen)),
            _Loop("commitments", lambda: _decide(settings, stop, latest, decided)),
            _Loop("reports", lambda: _report(settings, stop, decided)),
            _Loop("presence", lambda: _tell(settings, stop)),
        ]
        folder = settings.identity.hl7_folder
        if folder is not None:
            loops.append(_Loop("merges", lambda: _merge(settings, folder, stop)))
        for loop in loops:
            loop.start()
        try:
            # Python runs no signal handler while the main thread waits without a timeout: a SIGTERM just
            # before the wait would never be handled.
            while not stop.wait(_WATCH_INTERVAL_S):
                _require_alive(loops)
        finally:
            stop.set()
            frozen.set()
            decided.set()
            for loop in loops:
                loop.join(_JOIN_S)


@contextmanager
def _alone(folder: Path, stop: threading.Event) -> Iterator[None]:
    """Hold the lock of the storage's ingester; two would count the same instance twice."""
    make_private(folder)
    lock = os.open(folder / "ingester.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        while not stop.is_set():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stop.wait(_LOCK_INTERVAL_S)
            else:
                break
        yield
    finally:
        os.close(lock)


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


def _require_alive(loops: Sequence[_Loop]) -> None:
    """Raise ``ThreadEnded`` where a thread has ended: nobody could tell that nothing is processed."""
    ended = [loop.name for loop in loops if not loop.is_alive()]
    if ended:
        log.critical("thread_ended", threads=ended)
        raise ThreadEnded(", ".join(ended))


def _ingest(settings: Settings, stop: threading.Event, latest: LatestBacklog) -> None:
    """Record the files of every spool."""
    engine = connect(settings.database.url)
    storage = Storage(settings.storage.root)
    with HeaderReaders() as readers:
        ingest = Ingest(
            engine,
            storage,
            Spools(storage),
            readers,
            Quarantine(engine, storage, settings.storage.max_quarantine_bytes),
            limits=settings.delivery,
            installations=settings.listener.other_installations,
            priorities=PriorityRules.of(settings),
        )

        def step() -> None:
            done = ingest.step(_STEP_S)
            if done != Ingested():
                log.info("ingested", **asdict(done))

        # Told also where recording fails, for then it is behind.
        steps = step, lambda: latest.tell(ingest.backlog)
        _repeat("ingest", steps, stop, lambda: stop.wait(_PAUSE_S if ingest.idle else 0.0))
    engine.dispose()


def _assemble(
    settings: Settings, stop: threading.Event, latest: LatestBacklog, frozen: threading.Event
) -> None:
    """Record the notes of the spools, and freeze each study once it is complete."""
    engine = connect(settings.database.url)
    storage = Storage(settings.storage.root)
    spools = Spools(storage)
    quarantine = Quarantine(engine, storage, settings.storage.max_quarantine_bytes)
    assembler = Assembler(engine, settings)

    def freeze() -> None:
        backlog = latest()
        if backlog is not None and assembler.step(backlog):
            frozen.set()

    steps = (lambda: ingest_notes(engine, spools, quarantine)), freeze
    _repeat("assembly", steps, stop, lambda: stop.wait(_ASSEMBLE_EVERY_S))
    engine.dispose()


def _decide(
    settings: Settings, stop: threading.Event, latest: LatestBacklog, decided: threading.Event
) -> None:
    """Record requests for storage commitment, and decide what of the instances in them is committed.

    While nobody asks, Postgres is not asked either: requests come from nowhere but the spool.
    """
    engine = connect(settings.database.url)
    storage = Storage(settings.storage.root)
    spools = Spools(storage)
    quarantine = Quarantine(engine, storage, settings.storage.max_quarantine_bytes)
    some_wait = True  # of those that an earlier process recorded

    def step() -> None:
        nonlocal some_wait
        waited, some_wait = some_wait, True  # an error does not tell what was recorded before it
        some_wait = ingest_requests(engine, spools, quarantine) > 0 or waited
        backlog = latest()
        if not some_wait or backlog is None:
            return
        if decide(engine, storage, backlog, datetime.now(UTC)):
            decided.set()
        some_wait = some_undecided(engine)

    _repeat("commitments", (step,), stop, lambda: stop.wait(_DECIDE_EVERY_S))
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


def _report(settings: Settings, stop: threading.Event, decided: threading.Event) -> None:
    """Tell peers what was committed."""
    engine = connect(settings.database.url)
    reporter = Reporter(engine, settings)

    def report_step() -> None:
        decided.clear()
        reporter.step()

    _repeat("reports", (report_step,), stop, lambda: decided.wait(_REPORT_EVERY_S))
    engine.dispose()


def _merge(settings: Settings, folder: Path, stop: threading.Event) -> None:
    """Take merges of patients from a folder."""
    engine = connect(settings.database.url)
    drop = MergeDrop(engine, folder)
    _repeat("merges", (drop.step,), stop, lambda: stop.wait(_MERGE_EVERY_S))
    engine.dispose()


def _tell(settings: Settings, stop: threading.Event) -> None:
    """Tell that the listener runs; it has no connection to Postgres of its own."""
    engine = connect(settings.database.url)
    presence = Presence(engine, running.LISTENER)
    _repeat("presence", (presence.tell,), stop, lambda: stop.wait(BEAT_EVERY_S))
    presence.leave()
    engine.dispose()


def _repeat(
    name: str, steps: Sequence[Callable[[], object]], stop: threading.Event, pause: Callable[[], object]
) -> None:
    """Run all steps until ``stop``; an error stops no other, and the next round waits for a bounded time."""
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


def _error_of(step: Callable[[], object]) -> Exception | None:
    try:
        step()
    except Exception as error:  # noqa: BLE001 - logged by the caller
        return error
    return None


def main() -> None:
    """Run until SIGTERM or the end of standard input; exit code 70 where a thread ended by itself."""
    set_up_logging()
    give_way()
    settings = load_settings()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), name="parent", daemon=True).start()
    try:
        run(settings, stop)
    except ThreadEnded:
        sys.exit(_EX_SOFTWARE)


def _stop_at_end_of_input(stop: threading.Event) -> None:
    # Not by sys.stdin, whose lock would be held at the exit of the process.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


if __name__ == "__main__":
    main()
