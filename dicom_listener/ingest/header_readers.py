"""Several child processes read headers at once, so that a file that is slow or kills one delays no other.

A file has ``slice_s`` in one of the ``readers``. After that it moves to the slow readers, few and of low
priority, and a new child takes the place of its reader.
"""

import json
import select
import time
from collections import Counter, deque
from collections.abc import Iterator
from types import TracebackType
from typing import Final, NoReturn, Self

from pydantic import TypeAdapter, ValidationError

from dicom_listener.ingest.header_reader import ReadRequest
from dicom_listener.ingest.reader_process import ReaderFork, ReaderProcess
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

ReadResult = InstanceHeader | CommitmentReport | Reason
_KINDS: Final[dict[str, TypeAdapter[ReadResult]]] = {
    "header": TypeAdapter(InstanceHeader),
    "report": TypeAdapter(CommitmentReport),
    "reason": TypeAdapter(Reason),
}


class HeaderReaders:
    """Reads headers in child processes, within limits. Not thread-safe.

    ``readers`` and ``slow_readers``: children at once; ``deadline_s``: limit for a slow file.
    """

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
        self._fork = ReaderFork()
        self._fast: list[ReaderProcess] = []
        self._slow: list[ReaderProcess] = []
        self._next: deque[ReadRequest] = deque()
        self._next_slow: deque[ReadRequest] = deque()
        self._deaths: Counter[ReadRequest] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The process ids of the children."""
        return [child.pid for child in (*self._fast, *self._slow) if child.pid is not None]

    @property
    def limit(self) -> int:
        """Number of files read at once, apart from slow ones."""
        return self._readers

    @property
    def busy(self) -> bool:
        return bool(self.reading or self.slow)

    @property
    def free(self) -> int:
        """Number of further files that can be read now."""
        return self._readers - len(self.reading)

    @property
    def reading(self) -> list[ReadRequest]:
        """Requests within their slice of time."""
        return [*self._next, *(child.request for child in self._fast if child.request)]

    @property
    def slow(self) -> list[ReadRequest]:
        """Requests past their slice of time, running or queued."""
        return [*self._next_slow, *(child.request for child in self._slow if child.request)]

    def ask(self, request: ReadRequest) -> None:
        """Queue a file. Raises ``OSError`` where no child can be started; the request stays queued."""
        self._next.append(request)
        self._assign()

    def answers(self, timeout_s: float) -> list[tuple[ReadRequest, ReadResult]]:
        """The files read since the last call; waits up to ``timeout_s`` for the first.

        A file that kills two children, or takes longer than ``deadline_s``, is answered with a reason. Raises
        ``OSError`` where no child can be started.
        """
        end = time.monotonic() + timeout_s
        # Before anyone is found too slow: whoever calls may have been away for longer than a slice.
        answers = self._poll(0.0)
        while True:
            answers += self._overdue()
            self._assign()
            left_s = end - time.monotonic()
            if answers or left_s <= 0:
                return answers
            answers += self._poll(min(left_s, self._slice_s / 4))

    def close(self) -> None:
        """Kill the children and drop all requests."""
        for child in (*self._fast, *self._slow):
            child.kill()
        self._fork.close()
        self._fast, self._slow = [], []
        self._next.clear()
        self._next_slow.clear()
        self._deaths.clear()

    def _assign(self) -> None:
        """Give queued requests to idle children; start children as they are needed."""
        while self._next:
            idle = [child for child in self._fast if child.request is None]
            starting = any(not child.ready for child in self._fast)
            if not idle and (starting or len(self._fast) >= self._readers):
                break  # start one child at a time: the others may be done before it is ready
            child = max(idle, key=lambda child: child.ready, default=None) or ReaderProcess(self._fork)
            if child not in self._fast:
                self._fast.append(child)
            child.ask(self._next.popleft())
        while self._next_slow and len(self._slow) < self._slow_readers:
            child = ReaderProcess(self._fork)
            child.slow_down()
            self._slow.append(child)
            child.ask(self._next_slow.popleft())

    def _poll(self, timeout_s: float) -> list[tuple[ReadRequest, ReadResult]]:
        poll = select.poll()  # unlike select(), also for descriptors above 1023
        children = {child.output: child for child in (*self._fast, *self._slow)}
        for output in children:
            poll.register(output, select.POLLIN)
        ready = poll.poll(timeout_s * 1000)
        return [answer for output, _ in ready for answer in self._answer_of(children[output])]

    def _answer_of(self, child: ReaderProcess) -> Iterator[tuple[ReadRequest, ReadResult]]:
        try:
            line = child.read_answer()
        except EOFError:
            yield from self._on_death(child)
            return
        if line is None or child.request is None:
            return
        request, child.request = child.request, None
        del self._deaths[request]
        if child in self._slow:
            self._remove(child)
        yield request, _value(line, request)

    def _on_death(self, child: ReaderProcess) -> Iterator[tuple[ReadRequest, ReadResult]]:
        if not child.ready:
            self._cannot_start(child)
        waiting = self._next_slow if child in self._slow else self._next
        self._remove(child)
        request = child.request
        if request is None:
            return
        self._deaths[request] += 1
        if self._deaths[request] >= _ATTEMPTS:
            del self._deaths[request]
            yield request, _not_dicom("the process that read the header died of it")
        else:
            waiting.append(request)

    def _overdue(self) -> list[tuple[ReadRequest, ReadResult]]:
        for child in list(self._fast):
            if not child.ready:
                self._require_start(child)
            elif child.request and child.waited_s() > self._slice_s:
                self._move_to_slow(child, child.request)
        answers: list[tuple[ReadRequest, ReadResult]] = []
        for child in list(self._slow):
            if not child.ready:
                self._require_start(child)
            elif child.request and child.waited_s() > self._deadline_s:
                self._remove(child)
                text = f"the header could not be read within {self._deadline_s:g} s"
                answers.append((child.request, _not_dicom(text)))
        return answers

    def _require_start(self, child: ReaderProcess) -> None:
        if child.waited_s() > _START_DEADLINE_S:
            self._cannot_start(child)

    def _cannot_start(self, child: ReaderProcess) -> NoReturn:
        waiting = self._next_slow if child in self._slow else self._next
        self._remove(child)
        if child.request:
            waiting.append(child.request)
        raise OSError("the header reader cannot be started")

    def _move_to_slow(self, child: ReaderProcess, request: ReadRequest) -> None:
        """Go on as a slow reader; where there is no room, read the file again later."""
        if len(self._slow) < self._slow_readers:
            self._fast.remove(child)
            self._slow.append(child)
            child.slow_down()
        else:
            self._remove(child)
            self._next_slow.append(request)

    def _remove(self, child: ReaderProcess) -> None:
        (self._slow if child in self._slow else self._fast).remove(child)
        child.kill()


def _value(line: bytes, request: ReadRequest) -> ReadResult:
    try:
        answer = json.loads(line)
        kind = "reason" if "reason" in answer else request.kind
        return _KINDS[kind].validate_python(answer[kind])
    except (ValueError, KeyError, TypeError, ValidationError):
        return _not_dicom("the header could not be understood")


def _not_dicom(text: str) -> Reason:
    return Reason(ReasonCode.NOT_DICOM, text)
