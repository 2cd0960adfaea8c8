"""Structured logs. They carry database ids, UIDs and codes, never names or free text of a header.

Libraries quote header values in warnings, log lines and errors. Of those only the kind and the place are
logged, in the same format as our own lines.
"""

import io
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, TextIO, cast

import structlog

_MAX_FRAMES: Final = 40
_MAX_WARNINGS: Final = 1000

log = structlog.get_logger()


def set_up_logging() -> None:
    """Log one line per event to stderr for this process and its threads: text in a terminal, else JSON."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _place_of_error,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: structlog.PrintLogger(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [WithoutValues()]
    root.setLevel(logging.WARNING)
    # It complains about single values, thousands of times; our own log says what that means for a study.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.showwarning = _Warnings()
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


class _Stderr(io.TextIOBase):
    """The standard error of the moment at which a line is written.

    A line that cannot be written (a full disk, a closed terminal) is lost, and nothing else happens.
    """

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class WithoutValues(logging.Handler):
    """Logs that a library logged something, and where, without its words: they may quote a header."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        # A message with arguments is a template and holds no values itself.
        lines = record.msg.splitlines() if record.args and isinstance(record.msg, str) else []
        is_error = record.levelno >= logging.ERROR
        write = log.error if is_error else log.warning
        write(
            "library_error" if is_error else "library_warning",
            where=f"{record.name}:{record.lineno}",
            error=kind.__name__ if kind else "",
            template=lines[0] if lines else "",
        )


class _Warnings:
    """Replaces ``warnings.showwarning``: logs the first warning of each kind and place, without its text."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str, int]] = set()

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        place = category.__name__, _short(filename), lineno
        if place in self._logged or len(self._logged) >= _MAX_WARNINGS:
            return
        self._logged.add(place)
        log.warning("library_warning", category=place[0], where=f"{place[1]}:{lineno}")


def _place_of_error(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the exception of a log entry by its type and its frames: its text may quote a header."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event.update(error=type(error).__name__, frames=frames_of(error))
    return event


def frames_of(error: BaseException) -> list[str]:
    """Where an error was raised, the innermost call last: file, line and function, no values."""
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    return [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]


def _uncaught(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    log.critical("uncaught", error=kind.__name__, frames=frames_of(error.with_traceback(place)))


def _short(filename: str) -> str:
    """The path below ``site-packages``: no home folders in logs."""
    return filename.rpartition("site-packages/")[2] if "site-packages/" in filename else filename
