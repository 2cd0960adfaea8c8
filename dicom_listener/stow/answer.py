"""The answer to a store request (PS3.18 10.5.3, tables 10.5.3-1 and I.1-1): status and response module."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

JSON: Final = "application/dicom+json"
XML: Final = "application/dicom+xml"

_FAILED: Final = "00081198", "FailedSOPSequence"
_REFERENCED: Final = "00081199", "ReferencedSOPSequence"
_KEYWORDS: Final[Mapping[str, tuple[str, str]]] = {
    "00081150": ("UI", "ReferencedSOPClassUID"),
    "00081155": ("UI", "ReferencedSOPInstanceUID"),
    "00081197": ("US", "FailureReason"),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that is durable."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An instance that was not stored; UIDs are empty where they are not known."""

    sop_class_uid: str
    sop_instance_uid: str
    failure_reason: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each instance of a request, and why it was ended early (an HTTP status), if it was."""

    stored: tuple[Stored, ...] = ()
    failed: tuple[Failed, ...] = ()
    ended: int | None = None

    @property
    def status(self) -> int:
        """200 all stored, 202 some, 409 none; else why the request was ended."""
        if self.ended is not None:
            return self.ended
        if not self.failed:
            return 200 if self.stored else 400
        return 202 if self.stored else 409


def media_type_for(accept: str) -> str | None:
    """JSON unless XML alone is asked for; None where neither is acceptable."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",") if part.strip()]
    if not kinds or any(kind in (JSON, "application/json", "application/*", "*/*") for kind in kinds):
        return JSON
    return XML if any(kind in (XML, "application/xml", "text/xml") for kind in kinds) else None


def encoded(outcome: Outcome, media_type: str) -> bytes:
    """The response module."""
    sequences = [
        (_REFERENCED, [_values(item) for item in outcome.stored]),
        (_FAILED, [{**_values(item), "00081197": item.failure_reason} for item in outcome.failed]),
    ]
    present = [(name, items) for name, items in sequences if items]
    return _xml(present) if media_type == XML else _json(present)


_Items = Sequence[tuple[tuple[str, str], Sequence[Mapping[str, Any]]]]


def _values(item: Stored | Failed) -> dict[str, Any]:
    return {"00081150": item.sop_class_uid, "00081155": item.sop_instance_uid}


def _json(sequences: _Items) -> bytes:
    """PS3.18 annex F."""
    document: dict[str, Any] = {"00081190": {"vr": "UR"}}  # no RetrieveURL: nothing can be retrieved here
    for (tag, _), items in sequences:
        document[tag] = {"vr": "SQ", "Value": [_json_item(item) for item in items]}
    return json.dumps(document).encode()


def _json_item(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {"vr": _KEYWORDS[key][0], **({"Value": [value]} if value != "" else {})}
        for key, value in item.items()
    }


def _xml(sequences: _Items) -> bytes:
    """PS3.19 A.1, the Native DICOM Model."""
    body = "".join(_attribute(tag, "SQ", keyword, _xml_items(items)) for (tag, keyword), items in sequences)
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<NativeDicomModel xml:space="preserve">{body}</NativeDicomModel>'.encode()


def _xml_items(items: Sequence[Mapping[str, Any]]) -> str:
    return "".join(
        f'<Item number="{number}">'
        + "".join(
            _attribute(
                key, *_KEYWORDS[key], f'<Value number="1">{escape(str(value))}</Value>' if value != "" else ""
            )
            for key, value in item.items()
        )
        + "</Item>"
        for number, item in enumerate(items, 1)
    )


def _attribute(tag: str, vr: str, keyword: str, content: str) -> str:
    return f'<DicomAttribute tag="{tag}" vr="{vr}" keyword="{keyword}">{content}</DicomAttribute>'
