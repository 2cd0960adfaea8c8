"""HL7 v2 as bytes: framing, character set, segments, separators and escape sequences (v2.5.1 chapter 2)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_MSH_18: Final = 17  # split at the field separator, MSH-n stands at n - 1
# MSH-18, HL7 table 0211. Empty means ASCII.
_CODECS: Final[Mapping[str, str]] = {
    "": "ascii",
    "ASCII": "ascii",
    "UNICODE UTF-8": "utf-8",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}
_START, _END = b"\x0b", b"\x1c"  # of a message in MLLP
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # but tab and ends of segments
_SEGMENT_END: Final = re.compile(r"\r\n|\r|\n")
_SEGMENT_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{2}")
# MSH-2: four of them, and since v2.7 one for cut texts.
_ENCODING_CHARACTERS: Final = (4, 5)


class UnusableMessage(Exception):
    """A message cannot be used; the text says why, and names no value of it."""


@dataclass(frozen=True, slots=True)
class Separators:
    """MSH-1 and MSH-2 of a message."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str

    def text(self, value: str) -> str:
        """The text of an undivided value without its escape sequences; a deleted one (``""``) is empty."""
        parts = value.split(self.escape)
        if len(parts) % 2 == 0:
            raise UnusableMessage("an escape sequence is not closed")
        meanings = {
            "F": self.field,
            "S": self.component,
            "T": self.subcomponent,
            "R": self.repetition,
            "E": self.escape,
        }
        try:
            parts[1::2] = [meanings[name] for name in parts[1::2]]
        except KeyError:
            raise UnusableMessage("an escape sequence is none of \\F\\ \\S\\ \\T\\ \\R\\ \\E\\") from None
        text = "".join(parts).strip()
        return "" if text == '""' else text


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment, and its fields as written."""

    name: str
    fields: Sequence[str]  # the field of number n stands at n
    separators: Separators

    def repetitions(self, number: int) -> list[list[str]]:
        """The components, as written, of each repetition of a field; none where it is empty."""
        field = self.fields[number] if number < len(self.fields) else ""
        repetitions = field.split(self.separators.repetition) if field else []
        return [one.split(self.separators.component) for one in repetitions]

    def components(self, number: int) -> list[str]:
        """The components, as written, of a field that must not be repeated."""
        repetitions = self.repetitions(number)
        if len(repetitions) > 1:
            raise UnusableMessage(f"{self.name}-{number} is repeated")
        return repetitions[0] if repetitions else [""]

    def text(self, number: int) -> str:
        """The first component of a field that must not be repeated."""
        return component(self.separators, self.components(number), 1)


def component(separators: Separators, components: Sequence[str], number: int, subcomponent: int = 1) -> str:
    """The text of a component, or of one of its subcomponents; both are counted from 1."""
    whole = components[number - 1] if number <= len(components) else ""
    parts = whole.split(separators.subcomponent)
    return separators.text(parts[subcomponent - 1]) if subcomponent <= len(parts) else ""


def segments(data: bytes) -> list[Segment]:
    """The segments of a message, MSH first.

    Raises ``UnusableMessage``.
    """
    data = _unframed(data)
    if _CONTROL.search(data):
        raise UnusableMessage("it has control characters that no message has")
    if not data.startswith(b"MSH"):
        raise UnusableMessage("it does not begin with MSH")
    # The separators are ASCII in every character set that is taken.
    head = _SEGMENT_END.split(data.decode("latin-1"), 1)[0]
    separators = _separators(head)
    fields = head.split(separators.field)
    codec = _CODECS.get(fields[_MSH_18].strip() if len(fields) > _MSH_18 else "")
    if codec is None:
        raise UnusableMessage("MSH-18 names a character set that is not taken")
    try:
        text = data.decode(codec)
    except UnicodeDecodeError:
        raise UnusableMessage("it is not in the character set that MSH-18 names") from None
    found = [_segment(line, separators) for line in _SEGMENT_END.split(text) if line]
    if any(one.name == "MSH" for one in found[1:]):
        raise UnusableMessage("it holds several messages")
    return found


def _unframed(data: bytes) -> bytes:
    """Without the framing of MLLP. What is not closed may have been cut off, in the middle of an ID."""
    if data.startswith(_START):
        message, end, rest = data[1:].partition(_END)
        if not end or rest.strip(b"\r\n"):
            raise UnusableMessage("its MLLP frame is not closed, or something follows it")
        return message
    if not data.endswith((b"\r", b"\n")):
        raise UnusableMessage("its last segment is not ended by CR or LF: it may be cut off")
    return data


def _separators(head: str) -> Separators:
    field = head[3:4]
    encoding = head[4:].split(field, 1)[0] if field else ""
    marks = field + encoding
    fit = all(mark.isascii() and mark.isprintable() and not mark.isalnum() and mark != " " for mark in marks)
    if len(encoding) not in _ENCODING_CHARACTERS or not fit or len(set(marks)) != len(marks):
        raise UnusableMessage("MSH-1 and MSH-2 are no separators")
    return Separators(field, *encoding[:4])


def _segment(line: str, separators: Separators) -> Segment:
    fields = line.split(separators.field)
    if not _SEGMENT_NAME.fullmatch(fields[0]):
        raise UnusableMessage("a segment has no name")
    if fields[0] == "MSH":
        fields.insert(1, separators.field)
    return Segment(fields[0], fields, separators)
