"""The child that parses headers and may die of it: a few kilobytes can cost a minute or gigabytes.

``python -m dicom_listener.ingest.header_reader``: a line with what to read and a path comes in, a line of
JSON goes out. ``dicom_listener.ingest.header_readers`` asks.
"""

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from neurotriage.core.errors import Refused
from neurotriage.core.process.log import set_up_logging
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.commitment import read_report
from neurotriage.dicom.headers import read_instance

READY: Final = b"ready"
# Far above what a header needs; with as many children as may run at once, this is the bound of them all.
_MEMORY_BYTES: Final = 1024**3


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
    sys.stdout.buffer.write(READY + b"\n")
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        what, name = line.decode().split()
        answer = _answer(what, Path(os.fsdecode(bytes.fromhex(name))))
        # Half a surrogate pair, from a name that was decoded badly, is text to Python but not to Postgres.
        sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
