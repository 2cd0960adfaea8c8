"""Values in plain ASCII, read from their bytes as they came: pydicom's conversion takes ten times as long.

Each function gives exactly what the conversion would, or None where the value is not plain, or was converted
already: then there is no way around it. Two values differ: a name with an empty component in ISO 2022 IR 87
or 159, which pydicom 3.0 loses, and text under a character set of Python's alone (UTF-16), taken as ASCII.
"""

import re
from functools import cache
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

# PS3.5 6.2: a character string of one value, but for the trimming that is the caller's.
_TEXT_VRS: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
# No backslash (several values), no "=" (groups of a name), no escape sequence: in every character set of
# PS3.3 C.12.1.1.2 these bytes are the same characters.
_PLAIN_TEXT: Final = re.compile(rb"[ -<>-\[\]-~]{1,256}\0?")
_NUMBER: Final = rb" *[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})? *"
_PLAIN_NUMBERS: Final = re.compile(rb"%b(?:\\%b){0,5}\0?" % (_NUMBER, _NUMBER))
_LONGEST_BYTES: Final = 6 * 17  # six values of 16 bytes, as a DS has at most
_PLAIN_INTEGER: Final = re.compile(rb" *[+-]?[0-9]{1,12} *\0?")
_US_BYTES: Final = 2

_known_vr = cache(dictionary_VR)


def tag_of(dataset: Dataset, name: str) -> BaseTag | None:
    """The tag of an attribute by keyword; None where it is absent."""
    tag = _tag(name)
    return tag if tag in dataset.keys() else None  # noqa: SIM118 - Dataset's own ``in`` is slow


@cache
def _tag(name: str) -> BaseTag | None:
    tag = tag_for_keyword(name)
    return None if tag is None else BaseTag(tag)


def plain_text(dataset: Dataset, tag: BaseTag) -> str | None:
    """The characters of an element, with its padding."""
    vr, value, _ = _encoded(dataset, tag)
    return value.decode("ascii") if vr in _TEXT_VRS and _PLAIN_TEXT.fullmatch(value) else None


def plain_integer(dataset: Dataset, tag: BaseTag) -> int | None:
    """The number of an IS with one value."""
    vr, value, _ = _encoded(dataset, tag)
    return int(value.rstrip(b"\0")) if vr == "IS" and _PLAIN_INTEGER.fullmatch(value) else None


def plain_numbers(dataset: Dataset, tag: BaseTag) -> tuple[float, ...] | None:
    """The numbers of a DS with at most six values, or of an IS or US with one."""
    vr, value, little = _encoded(dataset, tag)
    if vr == "DS" and len(value) <= _LONGEST_BYTES and _PLAIN_NUMBERS.fullmatch(value):
        return tuple(map(float, value.rstrip(b"\0").split(b"\\")))
    if vr == "IS" and _PLAIN_INTEGER.fullmatch(value):
        return (float(int(value.rstrip(b"\0"))),)  # an integer has no -0
    if vr == "US" and len(value) == _US_BYTES:
        return (float(int.from_bytes(value, "little" if little else "big")),)
    return None


def _encoded(dataset: Dataset, tag: BaseTag) -> tuple[str, bytes, bool]:
    """Value representation, bytes and whether the low one is first; empty where it was converted already."""
    element: object = dataset.get_item(tag, keep_deferred=True)
    if not isinstance(element, RawDataElement) or not element.value:
        return "", b"", True
    return element.VR or _known_vr(tag), element.value, element.is_little_endian
