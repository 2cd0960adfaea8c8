"""Checks and their results: a line for each, with advice if something is wrong."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from neurotriage.core.errors import Unavailable


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"  # works, or may work once it is started
    FAILED = "failed"  # the first patient would be affected


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    subject: str
    state: State
    said: str  # the finding
    advice: str = ""  # what to do about it, as a sentence; empty if nothing is wrong


@dataclass(frozen=True, slots=True)
class Probe:
    """A part of the set-up and its checks. ``look`` may hang: it is abandoned after ``limit_s``."""

    part: str
    limit_s: float
    look: Callable[[], Iterator[Check]]


@dataclass(frozen=True, slots=True)
class Part:
    """The results of one part of the set-up."""

    name: str
    checks: tuple[Check, ...]
    hangs: bool  # its thread was abandoned and may still run


def ok(subject: str, said: str) -> Check:
    return Check(subject, State.OK, said)


def warning(subject: str, said: str, advice: str) -> Check:
    return Check(subject, State.WARNING, said, advice)


def failed(subject: str, said: str, advice: str) -> Check:
    return Check(subject, State.FAILED, said, advice)


def examine(probes: Sequence[Probe]) -> list[Part]:
    """Run all probes at once, each within its limit; the results in the order of the probes."""
    runs = [_Run(probe) for probe in probes]
    for run in runs:
        run.start()
    return [run.part() for run in runs]


class _Run(threading.Thread):
    """A running probe. A daemon, as one that hangs must not keep the process alive."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(name=f"doctor {probe.part}", daemon=True)
        self._probe = probe
        self._deadline = time.monotonic() + probe.limit_s
        self._checks: list[Check] = []

    def run(self) -> None:
        try:
            for check in self._probe.look():
                self._checks.append(check)
        except Unavailable as error:
            self._checks.append(
                failed("reached", str(error), "Check what this sentence names, then try again.")
            )
        except Exception as error:  # noqa: BLE001 - a bug in one part must not hide the others
            # Not the error's text: it may quote a URL with its password.
            text = f"the check itself failed: {type(error).__name__}"
            self._checks.append(failed("examined", text, "This is a bug of the doctor; please report it."))

    def part(self) -> Part:
        """The results so far, once the probe has ended or its limit is reached."""
        self.join(max(self._deadline - time.monotonic(), 0))
        hangs = self.is_alive()
        checks = tuple(self._checks)
        if hangs:
            text = f"no answer within {self._probe.limit_s:g} s"
            checks += (failed("in time", text, "Something here hangs: the network, a server or a disk."),)
        return Part(self._probe.part, checks, hangs)
