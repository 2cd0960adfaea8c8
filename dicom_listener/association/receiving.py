"""One data set on its way from the network into the spool: read on the loop, written by a thread.

At most two chunks of it are in memory, however long it is.
"""

import errno
import time
from asyncio import AbstractEventLoop, Future
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from typing import Final

from dicom_listener.spool import Incoming

# One write; an image of 512 x 512 pixels is shorter and costs one turn of a thread.
CHUNK_BYTES: Final = 640 << 10


class Unfinished:
    """Bytes of the objects that each peer has begun and not finished, with a limit per peer."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held: Counter[Hashable] = Counter()

    def add(self, peer: Hashable, size_bytes: int) -> None:
        """Raise ``OSError`` (EDQUOT) where the peer would hold more than its limit."""
        if self._held[peer] + size_bytes > self._limit_bytes:
            raise OSError(errno.EDQUOT, "[listener] max_unfinished_bytes reached")
        self._held[peer] += size_bytes

    @property
    def none(self) -> bool:
        """Whether no object is unfinished."""
        return not self._held

    def remove(self, peer: Hashable, size_bytes: int) -> None:
        """Give back what ``add`` took."""
        self._held[peer] -= size_bytes
        if not self._held[peer]:
            del self._held[peer]


class Receiving:
    """A data set that is being received. All methods belong to the loop's thread.

    ``begin`` opens the file, on a thread of ``disk``. ``on_room`` is called when more may be read after
    ``add`` has said that the disk is behind.
    """

    def __init__(
        self,
        begin: Callable[[], Incoming],
        loop: AbstractEventLoop,
        disk: Executor,
        unfinished: Unfinished,
        peer: Hashable,
        on_room: Callable[[], None],
    ) -> None:
        self._begin, self._loop, self._disk = begin, loop, disk
        self._unfinished, self._peer, self._on_room = unfinished, peer, on_room
        self._chunk = bytearray()
        self._incoming: Incoming | None = None  # touched by one job at a time
        self._writing = False
        self._on_stored: Callable[[str | OSError], None] | None = None
        self._error: OSError | None = None
        self._discarded = False
        self._counted_bytes = 0
        self.size_bytes = 0
        self.begun_at = time.monotonic()

    def add(self, data: memoryview) -> bool:
        """Take bytes; False where no more should be read before ``on_room``."""
        self.size_bytes += len(data)
        if self._error is not None:
            return True  # to be refused when it has come to its end
        try:
            self._unfinished.add(self._peer, len(data))
        except OSError as error:
            self._fail(error)
            return True
        self._counted_bytes += len(data)
        self._chunk += data
        if len(self._chunk) < CHUNK_BYTES:
            return True
        if self._writing:
            return False
        self._run(self._write, self._taken())
        return True

    def finish(self, on_stored: Callable[[str | OSError], None]) -> None:
        """Make durable what came; ``on_stored`` gets the name of the file, or why there is none."""
        self._on_stored = on_stored
        if not self._writing:
            self._store()

    def discard(self) -> None:
        """Delete what came: the association has ended before the data set."""
        self._discarded = True
        self._chunk = bytearray()
        if not self._writing:
            self._run(self._remove)

    def _taken(self) -> bytearray:
        chunk, self._chunk = self._chunk, bytearray()
        return chunk

    def _store(self) -> None:
        if self._error is None:
            self._run(self._commit, self._taken())
        else:
            self._run(self._remove)

    def _run(self, job: Callable[..., str | None], *arguments: bytearray) -> None:
        self._writing = True
        self._loop.run_in_executor(self._disk, job, *arguments).add_done_callback(self._done)

    def _done(self, job: "Future[str | None]") -> None:
        self._writing = False
        error = None if job.cancelled() else job.exception()
        if isinstance(error, OSError):
            self._fail(error)
        elif error is not None:
            self._fail(OSError(errno.EIO, f"{type(error).__name__} while it was written"))
        if self._discarded:
            if self._incoming is not None:
                self._run(self._remove)
            else:
                self._settle()
        elif self._on_stored is None:
            if len(self._chunk) >= CHUNK_BYTES:
                self._run(self._write, self._taken())
            self._on_room()
        elif self._error is not None and self._incoming is not None:
            self._run(self._remove)
        elif self._error is not None:
            self._answer(self._error)
        else:
            name = job.result()
            if name is None:
                self._store()
            else:
                self._answer(name)

    def _fail(self, error: OSError) -> None:
        self._error = self._error or error
        self._chunk = bytearray()

    def _answer(self, result: str | OSError) -> None:
        self._settle()
        if self._on_stored is not None:
            self._on_stored(result)

    def _settle(self) -> None:
        if self._counted_bytes:
            self._unfinished.remove(self._peer, self._counted_bytes)
            self._counted_bytes = 0

    # On a thread of the disk.

    def _write(self, chunk: bytearray) -> None:
        if self._incoming is None:
            self._incoming = self._begin()
        self._incoming.write(chunk)

    def _commit(self, chunk: bytearray) -> str:
        self._write(chunk)
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            raise ValueError("nothing was begun")
        return incoming.commit()

    def _remove(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.discard()
