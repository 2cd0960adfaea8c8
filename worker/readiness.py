"""A worker consumes tasks once its processes are warm, and answers whether they are.

The parent of a prefork pool forks its processes, each of which warms up, and then begins to consume. Here it
waits in between; each process reports through a pipe that was made before the fork.
"""

import os
import select
import time
from contextlib import suppress
from typing import Any, Final

import structlog
from celery import Celery, bootsteps
from celery.apps import worker as celery_worker
from celery.signals import setup_logging
from celery.worker import state
from celery.worker.control import inspect_command

from neurotriage.core.process.doorbell import WARM

log = structlog.get_logger()

# Beyond this, the worker consumes all the same, and the first study waits for the models.
_WARM_WITHIN_S: Final = 120.0
_LOOK_S: Final = 0.2

# The byte that a process reports.
_WARM: Final = b"1"
_COLD: Final = b"0"


class Readiness:
    """The pipe between the parent of a pool and its processes; made before they are forked."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)  # nothing reads it once the pool is up
        self.warm_in_s: float | None = None

    def report(self, *, warm: bool) -> None:
        """Report from a process of the pool whether it is warm."""
        with suppress(BlockingIOError):
            os.write(self._write, _WARM if warm else _COLD)

    def wait(self, processes: int) -> None:
        """Wait in the parent until every process has reported, 120 s at most, or until a SIGTERM."""
        begun = time.monotonic()
        reports = b""
        while len(reports) < processes and time.monotonic() - begun < _WARM_WITHIN_S:
            state.maybe_shutdown()
            if select.select([self._read], [], [], _LOOK_S)[0]:
                reports += os.read(self._read, processes)
        if reports == _WARM * processes:
            self.warm_in_s = time.monotonic() - begun
            log.info("warm", processes=processes, after_s=round(self.warm_in_s, 1))
        else:
            log.warning("not_warm", processes=processes, warm=reports.count(_WARM))


def take_work_when_warm(app: Celery, readiness: Readiness) -> None:
    """Let a worker of ``app`` consume once every process of its pool has reported, and answer ``WARM``."""

    class AwaitWarm(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.components:Pool",)  # the consumer is the last step

        def start(self, parent: Any) -> None:
            readiness.wait(parent.concurrency)

    app.steps["worker"].add(AwaitWarm)

    @inspect_command(name=WARM)  # type: ignore[untyped-decorator]
    def warm(_: Any) -> dict[str, float | None]:
        return {"warm_in_s": readiness.warm_in_s}


def keep_own_logging() -> None:
    """Keep Celery from configuring logging, and log its stop in our format."""
    setup_logging.connect(_leave_logging, weak=False)
    celery_worker.safe_say = lambda text, f=None: log.info("worker_stops", how=text.strip())


def _leave_logging(**_: Any) -> None:
    """A receiver of the signal is enough to keep Celery from configuring logging."""
