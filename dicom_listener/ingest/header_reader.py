"""The child process that parses headers: a few malicious kilobytes can cost a minute or gigabytes.

``python -m dicom_listener.ingest.header_reader``: reads a line with the kind of a file, its path in hex
and its digest where that is known, writes a line of JSON. The parent is
``dicom_listener.ingest.header_readers``.
"""

import json
import os
import resource
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Final

from neurotriage.core.errors import Refused
from neurotriage.core.process.log import set_up_logging
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.commitment import read_report
from neurotriage.dicom.headers import describe, digest_of_file, read_header
from neurotriage.dicom.placement import placement_of
from neurotriage.dicom.rejections import read_rejection

READY: Final = b"ready"
# Of address space; far above what a header needs.
_MEMORY_BYTES: Final = 1024**3


def _answer(kind: str, path: Path, digest: str) -> dict[str, object]:
    try:
        if kind == "report":
            return {kind: read_report(path)}
        dataset = read_header(path)
        known = describe(dataset, path, digest or digest_of_file(path))
        return {kind: replace(known, placement=placement_of(dataset), rejection=read_rejection(dataset))}
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


def main() -> None:
    """Answer until the parent closes its end of the pipe."""
    set_up_logging()  # warnings of libraries go to the listener's log, without the values that they quote
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold patient data
    sys.stdout.buffer.write(READY + b"\n")
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        kind, name, digest = line.decode().rstrip("\n").split(" ")
        answer = _answer(kind, Path(os.fsdecode(bytes.fromhex(name))), digest)
        # A lone surrogate, from a badly decoded name, is valid in a Python string but not in Postgres.
        sys.stdout.buffer.write(
            json.dumps(answer, ensure_ascii=False, default=_plain).encode("utf-8", "replace") + b"\n"
        )
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
