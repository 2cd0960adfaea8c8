"""Several children read headers at once. One that is slow over a file, or dies of it, holds up no other file.

A file gets a slice of time in one of the ``readers``. What is not done by then goes on apart, at a low
priority and a few at a time, while a new child takes the place of its reader.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Literal, NoReturn, Self, cast

from pydantic import TypeAdapter, ValidationError

from dicom_listener.ingest.header_reader import READY
from neurotriage.core.values import Reason, ReasonCode
from neurotriage.dicom.commitment import CommitmentReport
from neurotriage.dicom.headers import InstanceHeader

READERS: Final = 4
SLOW_READERS: Final = 2
# A header is read in milliseconds.
SLICE_S: Final = 1.0
# A large multi-frame file is hashed at above 100 MB/s.
READ_DEADLINE_S: Final = 30.0
_START_DEADLINE_S: Final = 60.0
# A child killed from outside (memory pressure of the host) gets a second try; a poison file kills both.
_ATTEMPTS: Final = 2
_ANSWER_LIMIT_BYTES: Final = 1 << 20
_LOW_PRIORITY: Final = 10

What = Literal["header", "report"]
Read = InstanceHeader | CommitmentReport | Reason
_KINDS: Final[dict[str, TypeAdapter[Read]]] = {
    "header": TypeAdapter(InstanceHeader),
    "report": TypeAdapter(CommitmentReport),
    "reason": TypeAdapter(Reason),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be read from which file."""

    what: What
    path: Path


class _Child:
    """One process, and the question that it is at."""

    def __init__(self) -> None:
        """Raises ``OSError`` where none can be started: that is no file's fault."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dicom_listener.ingest.header_reader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Numerical libraries would reserve address space per core.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self.question: Question | None = None
        self.since = time.monotonic()
        self.ready = False
        self._said = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> int:
        return cast(IO[bytes], self._process.stdout).fileno()

    def waited_s(self) -> float:
        """How long it has been starting or reading."""
        return time.monotonic() - self.since

    def ask(self, question: Question) -> None:
        """Also before it is ready: the question waits in the pipe."""
        self.question = question
        if self.ready:
            self.since = time.monotonic()
        stdin = cast(IO[bytes], self._process.stdin)
        with suppress(BrokenPipeError):  # it has died, which its output tells
            stdin.write(f"{question.what} {os.fsencode(question.path.absolute()).hex()}\n".encode())
            stdin.flush()

    def hear(self) -> bytes | None:
        """An answer, once it is whole. Raises ``EOFError`` where there will be none."""
        part = os.read(self.output, 65_536)
        self._said += part
        if not part or len(self._said) > _ANSWER_LIMIT_BYTES:
            raise EOFError
        line = self._line()
        if line is None or self.ready:
            return line
        if line != READY:
            raise EOFError
        self.ready, self.since = True, time.monotonic()
        return self._line()

    def _line(self) -> bytes | None:
        line, end, rest = self._said.partition(b"\n")
        if not end:
            return None
        self._said = rest
        return line

    def slow_down(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, _LOW_PRIORITY)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class HeaderReaders:
    """Reads headers in children with limits. For one thread."""

    def __init__(
        self,
        *,
        readers: int = READERS,
        slow_readers: int = SLOW_READERS,
        slice_s: float = SLICE_S,
        deadline_s: float = READ_DEADLINE_S,
    ) -> None:
        self._readers, self._slow_readers = readers, slow_readers
        self._slice_s, self._deadline_s = slice_s, deadline_s
        self._fast: list[_Child] = []
        self._slow: list[_Child] = []
        self._next: deque[Question] = deque()
        self._next_slow: deque[Question] = deque()
        self._deaths: Counter[Question] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The process ids of the children."""
        return [child.pid for child in (*self._fast, *self._slow)]

    @property
    def limit(self) -> int:
        """How many files are read at once, apart from the slow ones."""
        return self._readers

    @property
    def busy(self) -> bool:
        return bool(self.reading or self.slow)

    @property
    def free(self) -> int:
        """How many more files can be read at once now."""
        return self._readers - len(self.reading)

    @property
    def reading(self) -> list[Question]:
        """What is being read within its slice of time."""
        return [*self._next, *(child.question for child in self._fast if child.question)]

    @property
    def slow(self) -> list[Question]:
        """What took longer, and what waits to be read so."""
        return [*self._next_slow, *(child.question for child in self._slow if child.question)]

    def ask(self, question: Question) -> None:
        """Have a file read. Raises ``OSError`` where no child can be started; the question stands then."""
        self._next.append(question)
        self._assign()

    def answers(self, timeout_s: float) -> list[tuple[Question, Read]]:
        """What was read meanwhile; waits for the first answer, at most ``timeout_s``.

        A file that no child survives, or that takes too long, is answered with a reason. Raises ``OSError``
        where no child can be started.
        """
        end = time.monotonic() + timeout_s
        answers: list[tuple[Question, Read]] = []
        while not answers:
            answers += self._overdue()
            self._assign()
            wait_s = 0.0 if answers else min(end - time.monotonic(), self._slice_s / 4)
            answers += self._hear(max(0.0, wait_s))
            if time.monotonic() >= end:
                break
        return answers

    def close(self) -> None:
        """End the children; what they were at is forgotten."""
        for child in (*self._fast, *self._slow):
            child.kill()
        self._fast, self._slow = [], []
        self._next.clear()
        self._next_slow.clear()
        self._deaths.clear()

    def _assign(self) -> None:
        """Give the questions that wait to children, which are started as they are needed."""
        while self._next:
            idle = [child for child in self._fast if child.question is None]
            starting = any(not child.ready for child in self._fast)
            if not idle and (starting or len(self._fast) >= self._readers):
                break  # one start at a time: what is read in milliseconds may need no more children
            child = max(idle, key=lambda child: child.ready, default=None) or _Child()
            if child not in self._fast:
                self._fast.append(child)
            child.ask(self._next.popleft())
        while self._next_slow and len(self._slow) < self._slow_readers:
            child = _Child()
            child.slow_down()
            self._slow.append(child)
            child.ask(self._next_slow.popleft())

    def _hear(self, timeout_s: float) -> list[tuple[Question, Read]]:
        poll = select.poll()  # unlike select(), also for descriptors above 1023
        children = {child.output: child for child in (*self._fast, *self._slow)}
        for output in children:
            poll.register(output, select.POLLIN)
        heard = poll.poll(timeout_s * 1000)
        return [answer for output, _ in heard for answer in self._answer_of(children[output])]

    def _answer_of(self, child: _Child) -> Iterator[tuple[Question, Read]]:
        try:
            line = child.hear()
        except EOFError:
            yield from self._died(child)
            return
        if line is None or child.question is None:
            return
        question, child.question = child.question, None
        del self._deaths[question]
        if child in self._slow:
            self._remove(child)
        yield question, _value(line, question)

    def _died(self, child: _Child) -> Iterator[tuple[Question, Read]]:
        if not child.ready:
            self._cannot_start(child)
        waiting = self._next_slow if child in self._slow else self._next
        self._remove(child)
        question = child.question
        if question is None:
            return
        self._deaths[question] += 1
        if self._deaths[question] >= _ATTEMPTS:
            del self._deaths[question]
            yield question, _not_dicom("the process that read the header died of it")
        else:
            waiting.append(question)

    def _overdue(self) -> list[tuple[Question, Read]]:
        for child in list(self._fast):
            if not child.ready:
                self._require_start(child)
            elif child.question and child.waited_s() > self._slice_s:
                self._set_apart(child, child.question)
        answers: list[tuple[Question, Read]] = []
        for child in list(self._slow):
            if not child.ready:
                self._require_start(child)
            elif child.question and child.waited_s() > self._deadline_s:
                self._remove(child)
                text = f"the header could not be read within {self._deadline_s:g} s"
                answers.append((child.question, _not_dicom(text)))
        return answers

    def _require_start(self, child: _Child) -> None:
        if child.waited_s() > _START_DEADLINE_S:
            self._cannot_start(child)

    def _cannot_start(self, child: _Child) -> NoReturn:
        waiting = self._next_slow if child in self._slow else self._next
        self._remove(child)
        if child.question:
            waiting.append(child.question)
        raise OSError("the header reader cannot be started")

    def _set_apart(self, child: _Child, question: Question) -> None:
        """Its slice of time is over: it goes on beside the others, or begins anew once there is room."""
        if len(self._slow) < self._slow_readers:
            self._fast.remove(child)
            self._slow.append(child)
            child.slow_down()
        else:
            self._remove(child)
            self._next_slow.append(question)

    def _remove(self, child: _Child) -> None:
        (self._slow if child in self._slow else self._fast).remove(child)
        child.kill()


def _value(line: bytes, question: Question) -> Read:
    try:
        answer = json.loads(line)
        kind = "reason" if "reason" in answer else question.what
        return _KINDS[kind].validate_python(answer[kind])
    except (ValueError, KeyError, TypeError, ValidationError):
        return _not_dicom("the header could not be understood")


def _not_dicom(text: str) -> Reason:
    return Reason(ReasonCode.NOT_DICOM, text)
