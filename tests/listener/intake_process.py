"""The whole way in as a process of its own, to be killed."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Final

from dicom_listener.service import run
from neurotriage.core.settings import Settings

# Forked from a server that has the imports already: twenty starts would otherwise cost a minute.
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
_START_S: Final = 30


def _serve(settings: Settings, started: Connection) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    run(settings, stop, on_started=started.send)


class IntakeProcess:
    """Receives at ``port`` until it is ended by a signal."""

    def __init__(self, settings: Settings) -> None:
        here, there = _CONTEXT.Pipe(duplex=False)
        self.process: ForkServerProcess = _CONTEXT.Process(target=_serve, args=(settings, there))
        self.process.start()
        there.close()
        assert here.poll(_START_S), "the intake did not start"
        self.port: int = here.recv()

    def end(self, how: signal.Signals) -> int | None:
        """The exit code, None where it did not end in time."""
        assert self.process.pid is not None
        os.kill(self.process.pid, how)
        self.process.join(20)
        return self.process.exitcode
