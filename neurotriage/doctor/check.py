"""What an examination says: a line for each thing looked at, and what to do where it is not well."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from neurotriage.core.errors import Unavailable


class State(StrEnum):
    """How a thing was found."""

    OK = "ok"
    WARNING = "warning"  # works, or may work once it is started
    FAILED = "failed"  # the first patient would meet it


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    subject: str
    state: State
    said: str  # what was found
    advice: str = ""  # what to do about it, as a sentence; empty where all is well


@dataclass(frozen=True, slots=True)
class Probe:
    """A part of the set-up and how to look at it. ``look`` may hang: it is left behind after ``limit_s``."""

    part: str
    limit_s: float
    look: Callable[[], Iterator[Check]]


@dataclass(frozen=True, slots=True)
class Part:
    """All that was found in one part of the set-up."""

    name: str
    checks: tuple[Check, ...]
    hangs: bool  # its thread was left behind and may still run


def ok(subject: str, said: str) -> Check:
    return Check(subject, State.OK, said)


def warning(subject: str, said: str, advice: str) -> Check:
    return Check(subject, State.WARNING, said, advice)


def failed(subject: str, said: str, advice: str) -> Check:
    return Check(subject, State.FAILED, said, advice)


def examine(probes: Sequence[Probe]) -> list[Part]:
    """Look at everything at once, each part within its limit; the parts in the order given."""
    runs = [_Run(probe) for probe in probes]
    for run in runs:
        run.start()
    return [run.part() for run in runs]


class _Run(threading.Thread):
    """A probe under way. A daemon: what hangs must not keep the process alive."""

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
            self._checks.append(failed("reached", str(error), "See what the sentence names, then try again."))
        except Exception as error:  # noqa: BLE001 - one part's bug must not hide the others
            # Not the error's text: it may quote a URL with its password.
            text = f"the examination itself failed: {type(error).__name__}"
            self._checks.append(failed("examined", text, "This is a bug of the doctor; please report it."))

    def part(self) -> Part:
        """What was found when the limit is reached, or before where all was looked at."""
        self.join(max(self._deadline - time.monotonic(), 0))
        hangs = self.is_alive()
        found = tuple(self._checks)
        if hangs:
            text = f"no answer within {self._probe.limit_s:g} s"
            found += (failed("in time", text, "Something here hangs: the network, a server or a disk."),)
        return Part(self._probe.part, found, hangs)
