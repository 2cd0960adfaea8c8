"""The child processes that parse headers: a few malicious kilobytes can cost a minute or gigabytes.

``python -m dicom_listener.ingest.header_reader`` forks one for each socket that comes through its standard
input, itself a socket, and ends with that. A child answers each line, with the kind of a file, its path in
hex and its digest where that is known, by a line of JSON. The other side is
``dicom_listener.ingest.reader_process``.
"""

import gc
import json
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Final, Literal

from neurotriage.core.errors import Refused
from neurotriage.core.process.log import set_up_logging
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.commitment import read_report
from neurotriage.dicom.recorded import read_recorded

# Commands, each with the number of a child in four bytes; FORK comes with the socket of the child.
FORK: Final = b"F"
END: Final = b"E"
COMMAND_BYTES: Final = 5
# The first word of a child, followed by its process id.
READY: Final = b"ready"
# Of address space; far above what a header needs.
_MEMORY_BYTES: Final = 1024**3


FileKind = Literal["header", "report"]


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A file to read, as an instance header or as a storage commitment report.

    ``digest``: of its data set (SHA-256, hex) where it was computed on the way in, else empty.
    """

    kind: FileKind
    path: Path
    digest: str = ""

    @property
    def line(self) -> bytes:
        """The request as a child reads it."""
        return f"{self.kind} {os.fsencode(self.path.absolute()).hex()} {self.digest}\n".encode()


def _answer(kind: str, path: Path, digest: str) -> dict[str, object]:
    try:
        if kind == "report":
            return {kind: read_report(path)}
        return {kind: read_recorded(path, digest)}
    except Refused as refused:
        return {"reason": {"code": refused.reason.code, "text": refused.reason.text}}
    except MemoryError:
        return _not_dicom("the header needs too much memory")
    except OSError as error:
        return _not_dicom(f"the file cannot be read: {error.strerror}")


def _plain(value: object) -> object:
    """What is read, for JSON: level by level, for ``asdict`` copies every value deeply."""
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return str(value)


def _not_dicom(text: str) -> dict[str, object]:
    return {"reason": {"code": ReasonCode.NOT_DICOM, "text": text}}


def _answer_all(requests: socket.socket) -> None:
    """Answer until the parent closes its end of the socket."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold patient data
    with requests, requests.makefile("rb") as lines:
        requests.sendall(b"%s %d\n" % (READY, os.getpid()))
        for line in lines:
            kind, name, digest = line.decode().rstrip("\n").split(" ")
            answer = _answer(kind, Path(os.fsdecode(bytes.fromhex(name))), digest)
            # A lone surrogate, from a badly decoded name, is valid in a Python string but not in Postgres.
            text = json.dumps(answer, ensure_ascii=False, default=_plain)
            requests.sendall(text.encode("utf-8", "replace") + b"\n")


def _fork(control: socket.socket, descriptor: int) -> int:
    """The process id of a child that answers at the socket."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), control.fileno())
        _answer_all(socket.socket(fileno=descriptor))
        os._exit(os.EX_OK)
    except ConnectionError:  # the parent has gone
        os._exit(os.EX_OK)
    except BaseException:  # noqa: BLE001 - nothing of the parent's stack may go on in the child
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(os.EX_SOFTWARE)


def _is_reaped(pid: int) -> bool:
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return True


def main() -> None:
    """Fork and end children until the parent closes the control socket."""
    set_up_logging()  # warnings of libraries go to the listener's log, without the values that they quote
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent ends us
    gc.freeze()  # so that the children share what is imported
    control = socket.socket(fileno=sys.stdin.fileno())
    children: dict[int, int] = {}
    killed: list[int] = []
    while True:
        command, descriptors, _, _ = socket.recv_fds(control, COMMAND_BYTES, 1)
        if len(command) < COMMAND_BYTES:
            break
        number = int.from_bytes(command[1:])
        if command[:1] == FORK:
            for descriptor in descriptors:
                with suppress(OSError):  # out of memory or processes: the parent sees the socket close
                    children[number] = _fork(control, descriptor)
                os.close(descriptor)
        elif number in children:
            # Not reaped before, so that its process id is no other's.
            killed.append(children.pop(number))
            os.kill(killed[-1], signal.SIGKILL)
        killed = [pid for pid in killed if not _is_reaped(pid)]
    for pid in children.values():
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
