"""Processes that die at a named statement, as by ``kill -9``."""

import inspect
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

# Forked from a server that has the imports already: a hundred starts would otherwise cost minutes.
CONTEXT: Final = multiprocessing.get_context("forkserver")
_END_S: Final = 60


def die_before(function: Callable[..., Any], statement: str, times: int) -> None:
    """This process kills itself when it is about to run, for the ``times``-th time, a line of a function.

    ``statement``: how that line begins; the first such line is meant. Holds for the calling thread and for
    all that are started later.
    """
    code = inspect.unwrap(function).__code__
    lines, first = inspect.getsourcelines(function)
    number = first + next(i for i, line in enumerate(lines) if line.strip().startswith(statement))
    reached = 0

    def on_line(frame: FrameType, event: str, _: object) -> Any:
        nonlocal reached
        if event == "line" and frame.f_lineno == number:
            reached += 1
            if reached == times:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: FrameType, _event: str, _: object) -> Any:
        return on_line if frame.f_code is code else None

    threading.settrace(on_call)
    sys.settrace(on_call)


def run_until_it_dies(target: Callable[..., None], *arguments: object) -> None:
    """Run in a process of its own, which must end by SIGKILL."""
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    process.join(_END_S)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == -signal.SIGKILL, "the statement was not reached"
