"""A worker takes work once its processes are warm, and says so to whoever asks.

The parent of a prefork pool forks its processes and then begins to consume; each process warms up by itself.
Here the parent waits between the two, and a process that is warm writes into a pipe that both know.
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

# Where it takes longer, the worker takes work all the same: the first study then waits for the models.
_WARM_WITHIN_S: Final = 120.0
_LOOK_S: Final = 0.2

# One byte from a process: whether it is warm.
_WARM: Final = b"1"
_COLD: Final = b"0"


class Readiness:
    """The pipe between the parent of a pool and its processes; made before they are forked."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)  # nobody reads it any more once the pool is up
        self.warm_in_s: float | None = None

    def tell(self, *, warm: bool) -> None:
        """From a process of the pool."""
        with suppress(BlockingIOError):
            os.write(self._write, _WARM if warm else _COLD)

    def wait(self, processes: int) -> None:
        """In the parent: until every process has told, for two minutes at most, or until a SIGTERM."""
        begun = time.monotonic()
        told = b""
        while len(told) < processes and time.monotonic() - begun < _WARM_WITHIN_S:
            state.maybe_shutdown()
            if select.select([self._read], [], [], _LOOK_S)[0]:
                told += os.read(self._read, processes)
        if told == _WARM * processes:
            self.warm_in_s = time.monotonic() - begun
            log.info("warm", processes=processes, after_s=round(self.warm_in_s, 1))
        else:
            log.warning("not_warm", processes=processes, warm=told.count(_WARM))


def take_work_when_warm(app: Celery, readiness: Readiness) -> None:
    """Let a worker of ``app`` consume once every process of its pool has told that it is warm."""

    class AwaitWarm(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.components:Pool",)  # the consumer is the last step of all

        def start(self, parent: Any) -> None:
            readiness.wait(parent.concurrency)

    app.steps["worker"].add(AwaitWarm)

    @inspect_command(name=WARM)  # type: ignore[untyped-decorator]
    def warm(_: Any) -> dict[str, float | None]:
        return {"warm_in_s": readiness.warm_in_s}


def keep_logs_ours() -> None:
    """Celery sets up no logging of its own, and says that it stops as everything else is said."""
    setup_logging.connect(_leave_logging, weak=False)
    celery_worker.safe_say = lambda text, f=None: log.info("worker_stops", how=text.strip())


def _leave_logging(**_: Any) -> None:
    """That there is a receiver of the signal keeps Celery from it."""
