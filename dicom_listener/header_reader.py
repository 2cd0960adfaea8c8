"""Headers are parsed in a child process that may die: a few kilobytes can cost a minute or gigabytes.

``python -m dicom_listener.header_reader`` is the child: a line with what to read and a path comes in, a line
of JSON goes out.
"""

import json
import os
import resource
import select
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from neurotriage.core.commitment import CommitmentReport, read_report
from neurotriage.core.errors import Refused
from neurotriage.core.headers import InstanceHeader, read_instance
from neurotriage.core.log import set_up_logging
from neurotriage.core.values import Reason, ReasonCode

# A header is read in milliseconds; a large multi-frame file is hashed at above 100 MB/s.
READ_DEADLINE_S: Final = 30.0
_START_DEADLINE_S: Final = 60.0
_MEMORY_BYTES: Final = 2 * 1024**3
# A child killed from outside (memory pressure of the host) gets a second try; a poison file kills both.
_ATTEMPTS: Final = 2
_ANSWER_LIMIT_BYTES: Final = 1 << 20
_READY: Final = b"ready\n"

_HEADER: Final = TypeAdapter(InstanceHeader)
_REASON: Final = TypeAdapter(Reason)
_REPORT: Final = TypeAdapter(CommitmentReport)
_Found = TypeVar("_Found")


class _Died(Exception):
    """The child ended without an answer."""


class HeaderReader:
    """Reads headers in a child that is replaced when a file kills or hangs it. For one thread."""

    def __init__(self, *, deadline_s: float = READ_DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self._child: subprocess.Popen[bytes] | None = None

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

    def read(self, path: Path) -> InstanceHeader:
        """The header of one file. Raises ``Refused``, also for a file that the child does not survive."""
        return self._read("header", path, _HEADER)

    def read_report(self, path: Path) -> CommitmentReport:
        """What a report of storage commitment says. Raises ``Refused`` as ``read`` does."""
        return self._read("report", path, _REPORT)

    def _read(self, what: str, path: Path, kind: TypeAdapter[_Found]) -> _Found:
        for _ in range(_ATTEMPTS):
            try:
                return self._ask(what, path, kind)
            except _Died:
                self.close()
            except TimeoutError:
                self.close()
                text = f"the header could not be read within {self._deadline_s:g} s"
                raise Refused(ReasonCode.NOT_DICOM, text) from None
        raise Refused(ReasonCode.NOT_DICOM, "the process that read the header died of it")

    def close(self) -> None:
        """End the child."""
        if self._child is None:
            return
        self._child.kill()
        self._child.communicate()
        self._child = None

    def _ask(self, what: str, path: Path, kind: TypeAdapter[_Found]) -> _Found:
        child = self._child = self._child or _start()
        question, answers = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)
        try:
            question.write(f"{what} {os.fsencode(path.absolute()).hex()}\n".encode())
            question.flush()
        except BrokenPipeError:
            raise _Died from None
        answer = _read_line(answers, self._deadline_s)
        try:
            found = json.loads(answer)
            if "reason" in found:
                reason = _REASON.validate_python(found["reason"])
                raise Refused(reason.code, reason.text)
            return kind.validate_python(found[what])
        except (ValueError, KeyError, ValidationError) as error:
            raise Refused(ReasonCode.NOT_DICOM, "the header could not be understood") from error


def _start() -> subprocess.Popen[bytes]:
    """A child with limits. Raises ``OSError`` where none can be started: that is no file's fault."""
    child = subprocess.Popen(
        [sys.executable, "-m", "dicom_listener.header_reader"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Numerical libraries would reserve address space per core.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        if _read_line(cast(IO[bytes], child.stdout), _START_DEADLINE_S) != _READY:
            raise OSError("the header reader said something unexpected")
    except (_Died, TimeoutError) as error:
        child.kill()
        child.communicate()
        raise OSError("the header reader cannot be started") from error
    return child


def _read_line(stream: IO[bytes], deadline_s: float) -> bytes:
    """One line. Raises ``TimeoutError`` past the deadline, ``_Died`` at the end of the stream."""
    end = time.monotonic() + deadline_s
    line = b""
    while not line.endswith(b"\n"):
        remaining_s = end - time.monotonic()
        if remaining_s <= 0 or not select.select([stream], [], [], remaining_s)[0]:
            raise TimeoutError
        part = os.read(stream.fileno(), 65_536)
        if not part or len(line) > _ANSWER_LIMIT_BYTES:
            raise _Died
        line += part
    return line


def _answer(what: str, path: Path) -> dict[str, object]:
    try:
        if what == "report":
            return {what: asdict(read_report(path))}
        header = asdict(read_instance(path))
    except Refused as refused:
        return {"reason": {"code": refused.reason.code, "text": refused.reason.text}}
    except MemoryError:
        return _not_dicom("the header needs too much memory")
    except OSError as error:
        return _not_dicom(f"the file cannot be read: {error.strerror}")
    return {what: {**header, "path": str(path)}}


def _not_dicom(text: str) -> dict[str, object]:
    return {"reason": {"code": ReasonCode.NOT_DICOM, "text": text}}


def main() -> None:
    """Answer until the parent closes its end."""
    set_up_logging()  # what libraries say goes to the listener's log, without its words
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold patient data
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        what, name = line.decode().split()
        answer = _answer(what, Path(os.fsdecode(bytes.fromhex(name))))
        # Half a surrogate pair, from a name that was decoded badly, is text to Python but not to Postgres.
        sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
