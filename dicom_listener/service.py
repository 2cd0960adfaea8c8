"""The listener service: the DICOM listener, and the ingester in a process of its own."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from dicom_listener.server import Listener
from neurotriage.core.process import lean
from neurotriage.core.settings import Settings, environment_of

log = structlog.get_logger()

_WATCH_INTERVAL_S: Final = 0.5
_FIRST_BACK_OFF_S: Final = 0.5
_LONGEST_BACK_OFF_S: Final = 30.0
# An ingester that ran for this long has not failed at its start.
_STEADY_S: Final = 60.0
# It finishes its step, and its threads wait for Postgres or the broker for a while.
_STOP_S: Final = 20.0


class ListenerEnded(Exception):
    """The listener ended by itself: the process must end and be restarted."""


def run(
    settings: Settings,
    stop: threading.Event,
    on_started: Callable[[int], None] | None = None,
    name: str = "main",
) -> None:
    """Receive studies until ``stop`` is set. ``on_started`` gets the port once the listener accepts.

    Instances are received while the ingester, Postgres or the broker is down, and recorded when they are
    back. ``name`` is that of the spool. Raises ``Unavailable``, ``OSError`` or ``ConfigurationError`` where
    the listener cannot start, and ``ListenerEnded`` where it ended by itself.
    """
    listener = Listener(settings, name)
    ingester = _Ingester(settings)
    try:
        ingester.start()  # first: it takes seconds, while the listener starts
        port = listener.start()
        if on_started is not None:
            on_started(port)
        # Python runs no signal handler while the main thread waits without a timeout: a SIGTERM just before
        # the wait would never be handled.
        while not stop.wait(_WATCH_INTERVAL_S):
            if not listener.accepts:
                log.critical("listener_ended")
                raise ListenerEnded
            ingester.watch()
    finally:
        listener.stop()
        ingester.stop()


class _Ingester:
    """The child process, started again when it ends: after a pause that grows, without an end."""

    def __init__(self, settings: Settings) -> None:
        self._environment = {**os.environ, **environment_of(settings)}
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._start_at = 0.0
        self._back_off_s = _FIRST_BACK_OFF_S

    def start(self) -> None:
        """Start it. Raises ``OSError``."""
        self._process = subprocess.Popen(
            lean.command("dicom_listener.ingester"),
            stdin=subprocess.PIPE,
            env=self._environment,
        )
        self._started_at = time.monotonic()

    def watch(self) -> None:
        """Start it again where it has ended and its pause is over."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._process = None
            steady = time.monotonic() - self._started_at > _STEADY_S
            self._back_off_s = _FIRST_BACK_OFF_S if steady else min(2 * self._back_off_s, _LONGEST_BACK_OFF_S)
            self._start_at = time.monotonic() + self._back_off_s
            log.critical("ingester_ended", exit_code=code, again_in_s=self._back_off_s)
        elif time.monotonic() >= self._start_at:
            try:
                self.start()
            except OSError as error:
                self._start_at = time.monotonic() + self._back_off_s
                log.critical("ingester_not_started", error=error.strerror, again_in_s=self._back_off_s)

    def stop(self) -> None:
        """End it by the end of its standard input; kill it where that takes too long."""
        if self._process is None:
            return
        try:
            self._process.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            log.warning("ingester_killed", after_s=_STOP_S)
            self._process.kill()
            self._process.wait()
