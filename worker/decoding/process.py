"""The parent's side of the decoding child: limits of time and memory, and a new child where one has died."""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, cast

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.values import ReasonCode
from worker.decoding.protocol import READY, DecodeRequest, DecodeResponse

# The slowest codec takes about a second for the largest frame allowed; hosts may be busy.
FRAME_LIMIT_S: Final = 20.0
# The largest frame takes a codec about 300 MB; the process itself has 130 MB of address space.
MEMORY_BYTES: Final = 1024**3
_START_LIMIT_S: Final = 60.0
_LINE_LIMIT_BYTES: Final = 1 << 16
_CHUNK_BYTES: Final = 1 << 20
# SIGKILL comes from outside (memory pressure of the host) and is no fault of the frame: it gets another try.
_ATTEMPTS: Final = 2
_ROOT: Final = Path(__file__).resolve().parents[2]


class DecoderEnded(Refused):
    """The child died of a frame, which is refused; the next frame gets a new child."""


class _Died(Exception):
    """The child closed its end of the pipe, or broke the protocol."""


class FrameDecoder:
    """Decodes frames in one child process, started with the first frame and kept. Thread-safe.

    ``limit_s`` and ``memory_bytes`` are per frame and of the child's address space.
    """

    def __init__(self, *, limit_s: float = FRAME_LIMIT_S, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limit_s = limit_s
        self._memory_bytes = memory_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id of the child, None while there is none."""
        return self._child.pid if self._child else None

    def close(self) -> None:
        """Kill the child; a later ``decode`` starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            _end(child)

    def decode(self, request: DecodeRequest, stream: bytes) -> NDArray[np.integer]:
        """The stored values of one frame, shaped (rows, columns).

        Raises ``Refused`` (UNREADABLE_PIXELS) where the stream cannot be decoded; ``DecoderEnded``, a
        subclass, where the child died of it; ``Unavailable`` where no child can be started.
        """
        with self._lock:
            for attempt in range(_ATTEMPTS):
                child = self._child = self._child or _start(self._limit_s, self._memory_bytes)
                try:
                    response, values = _ask(child, request, stream, time.monotonic() + self._limit_s)
                    return _stored(response, values, request)
                except TimeoutError:
                    self.close()
                    raise _ended(f"it took more than {self._limit_s:g} s") from None
                except _Died:
                    self._child = None
                    status = _end(child)
                    if status != -signal.SIGKILL or attempt + 1 == _ATTEMPTS:
                        raise _ended(f"the process that decoded it ended ({_named(status)})") from None
        raise AssertionError("the last attempt returns or raises")


_of_process: dict[int, FrameDecoder] = {}


def process_decoder() -> FrameDecoder:
    """The decoder shared by all of this process. A forked child gets one of its own."""
    own = _of_process.get(os.getpid())
    if own is None:
        _of_process.clear()
        own = _of_process[os.getpid()] = FrameDecoder()
        atexit.register(_close_own)
    return own


def _close_own() -> None:
    own = _of_process.get(os.getpid())
    if own is not None:
        own.close()


def _start(limit_s: float, memory_bytes: int) -> subprocess.Popen[bytes]:
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "worker.decoding.child", str(limit_s), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,  # where ``-m`` finds this very package
            # Numerical libraries would reserve address space per core.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    except OSError as error:
        raise Unavailable(f"the decoding process cannot be started: {error.strerror}") from error
    os.set_blocking(cast(IO[bytes], child.stdin).fileno(), False)
    try:
        if _ResponseReader(child, time.monotonic() + _START_LIMIT_S).line() == READY:
            return child
    except (_Died, TimeoutError):
        pass
    raise Unavailable(f"the decoding process cannot be started ({_named(_end(child))})")


def _ask(
    child: subprocess.Popen[bytes], request: DecodeRequest, stream: bytes, end_s: float
) -> tuple[DecodeResponse, bytes]:
    """Send a request and read its response, until ``end_s`` (monotonic).

    Raises ``TimeoutError`` past it, ``_Died`` where the child ends.
    """
    _write(child, json.dumps(asdict(request)).encode() + b"\n" + stream, end_s)
    responses = _ResponseReader(child, end_s)
    try:
        fields = json.loads(responses.line())
        response = DecodeResponse(**(fields | {"shape": tuple(fields["shape"])}))
    except (ValueError, TypeError, KeyError):
        raise _Died from None
    # At most 8 bytes a pixel, so that a broken child cannot fill our memory.
    if response.values_bytes > 8 * request.rows * request.columns:
        raise _Died
    return response, responses.read(response.values_bytes)


def _write(child: subprocess.Popen[bytes], data: bytes, end_s: float) -> None:
    descriptor, left = cast(IO[bytes], child.stdin).fileno(), memoryview(data)
    while left:
        if not select.select([], [descriptor], [], max(0.0, end_s - time.monotonic()))[1]:
            raise TimeoutError
        try:
            left = left[os.write(descriptor, left[:_CHUNK_BYTES]) :]
        except BlockingIOError:
            continue
        except BrokenPipeError:
            raise _Died from None


class _ResponseReader:
    """Reads from the child until a deadline (monotonic)."""

    def __init__(self, child: subprocess.Popen[bytes], end_s: float) -> None:
        self._descriptor = cast(IO[bytes], child.stdout).fileno()
        self._end_s = end_s
        self._rest = bytearray()

    def line(self) -> bytes:
        while b"\n" not in self._rest:
            if len(self._rest) > _LINE_LIMIT_BYTES:
                raise _Died
            self._more(_LINE_LIMIT_BYTES)
        line, _, rest = bytes(self._rest).partition(b"\n")
        self._rest = bytearray(rest)
        return line + b"\n"

    def read(self, count: int) -> bytes:
        while len(self._rest) < count:
            self._more(min(count - len(self._rest), _CHUNK_BYTES))
        return bytes(self._rest)

    def _more(self, most: int) -> None:
        if not select.select([self._descriptor], [], [], max(0.0, self._end_s - time.monotonic()))[0]:
            raise TimeoutError
        part = os.read(self._descriptor, most)
        if not part:
            raise _Died
        self._rest += part


def _stored(response: DecodeResponse, values: bytes, request: DecodeRequest) -> NDArray[np.integer]:
    if response.error:
        raise Refused(ReasonCode.UNREADABLE_PIXELS, f"the pixel data cannot be decoded: {response.error}")
    if response.shape != (request.rows, request.columns):
        shown = " x ".join(map(str, response.shape))
        sentence = f"the decoded picture is {shown}, not {request.rows} x {request.columns}"
        raise Refused(ReasonCode.UNREADABLE_PIXELS, sentence)
    stored: NDArray[np.integer] = np.frombuffer(values, response.dtype).reshape(response.shape)
    return stored


def _end(child: subprocess.Popen[bytes]) -> int:
    """Reap a child, killing it if it still runs; its exit status."""
    try:
        status = child.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        child.kill()
        status = child.wait()
    for end in (child.stdin, child.stdout):
        cast(IO[bytes], end).close()
    return status


def _named(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _ended(cause: str) -> DecoderEnded:
    return DecoderEnded(ReasonCode.UNREADABLE_PIXELS, f"the pixel data cannot be decoded: {cause}")
