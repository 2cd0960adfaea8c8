"""A child process that reads headers, forked from one process that has the imports already.

A new child takes the place of each that a file has held up or killed: that costs milliseconds so, and a few
megabytes. The other side is ``dicom_listener.ingest.header_reader``.
"""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from typing import Final

from dicom_listener.ingest.header_reader import END, FORK, READY, ReadRequest
from neurotriage.core.process import lean

_ANSWER_LIMIT_BYTES: Final = 1 << 20
_LOW_PRIORITY: Final = 10
_EXIT_S: Final = 5.0


class ReaderFork:
    """Forks children, and ends them; itself started where it is needed. Not thread-safe."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._forked = 0

    def fork(self) -> tuple[int, socket.socket]:
        """The number of a new child, and its socket; nothing is waited for. Raises ``OSError``."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                control = self._started()
                self._forked += 1
                socket.send_fds(control, [FORK + self._forked.to_bytes(4)], [theirs.fileno()])
            except OSError as error:
                ours.close()
                self.close()
                raise OSError(f"the header reader cannot be started: {error.strerror}") from error
        return self._forked, ours

    def end(self, number: int, pid: int | None) -> None:
        """Kill a child; ``pid``: its process id where it has told it."""
        try:
            if self._control is not None:
                self._control.sendall(END + number.to_bytes(4))
                return
        except OSError:
            self.close()
        if pid is not None:  # its parent has ended before it
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process; its children are killed by it."""
        process, self._process = self._process, None
        control, self._control = self._control, None
        if control is not None:
            control.close()
        if process is not None:
            try:
                process.wait(_EXIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _started(self) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._control is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    lean.command("dicom_listener.ingest.header_reader"),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    # Numerical libraries would reserve address space per core.
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
            ours.settimeout(_EXIT_S)
            self._control = ours
        return self._control


class ReaderProcess:
    """A child and the request that it works on."""

    def __init__(self, fork: ReaderFork) -> None:
        """Start a child. Raises ``OSError`` where that fails, which no file is to blame for."""
        self._fork = fork
        self._number, self._socket = fork.fork()
        self.pid: int | None = None  # once it is ready
        self.request: ReadRequest | None = None
        self.since = time.monotonic()
        self._buffer = b""

    @property
    def ready(self) -> bool:
        return self.pid is not None

    @property
    def output(self) -> int:
        """The descriptor that can be read once there is an answer, or none will come."""
        return self._socket.fileno()

    def waited_s(self) -> float:
        """Seconds for which it has been starting, or reading its file."""
        return time.monotonic() - self.since

    def ask(self, request: ReadRequest) -> None:
        """Send a request; before the child is ready, it waits in the socket."""
        self.request = request
        if self.ready:
            self.since = time.monotonic()
        with suppress(OSError):  # it has died; reading its output will show that
            self._socket.sendall(request.line)

    def read_answer(self) -> bytes | None:
        """A line of the answer, None while it is incomplete. Raises ``EOFError`` where none will come."""
        try:
            part = self._socket.recv(65_536)
        except OSError as error:
            raise EOFError from error
        self._buffer += part
        if not part or len(self._buffer) > _ANSWER_LIMIT_BYTES:
            raise EOFError
        line = self._line()
        if line is None or self.ready:
            return line
        word, _, pid = line.partition(b" ")
        if word != READY:
            raise EOFError
        self.pid, self.since = int(pid), time.monotonic()
        return self._line()

    def _line(self) -> bytes | None:
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return None
        self._buffer = rest
        return line

    def slow_down(self) -> None:
        """Let all others go first."""
        if self.pid is not None:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.pid, _LOW_PRIORITY)

    def kill(self) -> None:
        self._fork.end(self._number, self.pid)
        self._socket.close()
