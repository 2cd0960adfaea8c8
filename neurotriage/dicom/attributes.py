"""Numbers and functional groups of a header whose value representations may be wrong."""

import math
import re
import struct
import warnings
from collections.abc import Sequence
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DatasetSequence

from neurotriage.core.wording import counted
from neurotriage.dicom.headers import MALFORMED, UNREADABLE_VALUE, value_of
from neurotriage.dicom.peer_text import peer_text
from neurotriage.dicom.plain import plain_numbers, tag_of

# struct codes of binary numbers that were encoded under a text or unknown value representation (PS3.5 6.2).
_BINARY: Final = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}
_QUOTED_LENGTH: Final = 64
_TEXT_LENGTH: Final = 256
_MAX_VALUES: Final = 64


def value(dataset: Dataset, name: str) -> Any:
    """The value of an attribute by keyword; None where it is absent, empty or cannot be parsed."""
    parsed = value_of(dataset, name)
    return None if parsed is None or parsed == "" else parsed


def numbers(dataset: Dataset, name: str) -> tuple[float, ...]:
    """The values of a numeric attribute; empty where it is absent, or any is unreadable or not finite.

    Reads text, values of an unknown value representation (UN), and decimal commas, too.
    """
    tag = tag_of(dataset, name)
    plain = None if tag is None else plain_numbers(dataset, tag)
    if plain is not None or tag is None:
        return plain or ()
    content = value(dataset, name)
    several = isinstance(content, Sequence) and not isinstance(content, (str, bytes))
    parts = tuple(content) if several else (content,) if content is not None else ()
    try:
        if any(isinstance(part, (str, bytes)) for part in parts):
            parsed = tuple(number for part in parts for number in _parsed(part, dataset, name))
        else:
            parsed = tuple(float(part) for part in parts) or _parsed(_raw(dataset, name), dataset, name)
    except MALFORMED:
        return ()
    return parsed if all(math.isfinite(part) for part in parsed) else ()


def number(dataset: Dataset, name: str) -> float | None:
    """The first value of a numeric attribute, or None. Errors as for ``numbers``."""
    values = numbers(dataset, name)
    return values[0] if values else None


def whole_number(dataset: Dataset, name: str) -> int | None:
    """The first value of a numeric attribute, truncated, or None."""
    first = number(dataset, name)
    return None if first is None else int(first)


def described(dataset: Dataset, name: str) -> str:
    """An attribute for the sentence of a refusal: absent, empty, or with its value, cut to 64 characters."""
    tag = tag_for_keyword(name)
    if tag is None or tag not in dataset:
        return f"{name} is absent"
    raw = _raw(dataset, name)
    if isinstance(raw, bytes):
        raw = raw.decode("ascii", "replace")
    elif isinstance(raw, Sequence) and not isinstance(raw, str):
        raw = "\\".join(map(str, raw))
    shown = "".join(c for c in str("" if raw is None else raw) if c.isprintable()).strip()
    return f"{name} is '{shown[:_QUOTED_LENGTH]}'" if shown else f"{name} is empty"


def _raw(dataset: Dataset, name: str) -> Any:
    """The undecoded value, or the decoded one where pydicom has converted it already."""
    tag = tag_for_keyword(name)
    element = None if tag is None or tag not in dataset else dataset.get_item(tag)
    return None if element is None else element.value


def _parsed(raw: Any, dataset: Dataset, name: str) -> tuple[float, ...]:
    """Numbers of a raw value. Raises ``ValueError``."""
    if isinstance(raw, bytes):
        code = _BINARY.get(dictionary_VR(name))
        size = struct.calcsize(f"<{code}") if code else 0
        if code and raw and len(raw) % size == 0:
            return struct.unpack(f"{_byte_order(dataset)}{len(raw) // size}{code}", raw)
        raw = raw.decode("ascii")
    if not isinstance(raw, str):
        return ()
    parts = [part for part in re.split(r"[\\;\s]+", raw.strip("\0 ")) if part]
    return tuple(number for part in parts for number in _decimals(part))


def _byte_order(dataset: Dataset) -> str:
    return ">" if dataset.original_encoding[1] is False else "<"


def _decimals(part: str) -> tuple[float, ...]:
    """``0.5``, ``0,5`` (a decimal comma) or ``0.5,0.5`` (the comma separates two numbers)."""
    if "," in part and "." in part:
        return tuple(float(number) for number in part.split(","))
    return (float(part.replace(",", ".")),)


def items(dataset: Dataset, name: str) -> Sequence[Dataset]:
    """The items of a sequence attribute; empty where it is absent or no sequence."""
    content = value(dataset, name)
    return content if isinstance(content, DatasetSequence) else ()


def functional_group(dataset: Dataset, index: int, name: str) -> Dataset | None:
    """A functional group of a frame (0-based): per-frame, else shared, else None (PS3.3 C.7.6.16)."""
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    own = items(per_frame[index], name) if index < len(per_frame) else ()
    if own:
        return own[0]
    shared = items(dataset, "SharedFunctionalGroupsSequence")
    common = items(shared[0], name) if shared else ()
    return common[0] if common else None


def stated(dataset: Dataset, tag: int) -> tuple[str, ...]:
    """The values of an element, each as a line of at most 256 characters; empty where it has none.

    Where the data set has no such element, those in its functional groups (PS3.3 C.7.6.16): the shared ones,
    else of all frames, each value once. A sequence has one value, which counts its items. Values beyond 64
    are left out.
    """
    own = _texts_of(dataset, tag)
    if own:
        return own
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        macros = (macro for group in items(dataset, groups) for macro in _macros(group))
        found = dict.fromkeys(text for macro in macros for text in _texts_of(macro, tag))
        if found:
            return tuple(sorted(found))[:_MAX_VALUES]
    return ()


def _macros(group: Dataset) -> list[Dataset]:
    """The first item of each sequence of a functional group."""
    return [item for tag in sorted(group.keys()) for item in _items_of(group, int(tag))[:1]]


def _items_of(dataset: Dataset, tag: int) -> Sequence[Dataset]:
    element = _element(dataset, tag)
    content = element.value if element is not None else None
    return content if isinstance(content, DatasetSequence) else ()


def _texts_of(dataset: Dataset, tag: int) -> tuple[str, ...]:
    element = _element(dataset, tag)
    content = element.value if element is not None else None
    if content is None:
        return ()
    if isinstance(content, DatasetSequence):
        return (counted(len(content), "item"),) if content else ()
    several = isinstance(content, Sequence) and not isinstance(content, str | bytes)
    texts = (_text_of(part) for part in (list(content)[:_MAX_VALUES] if several else [content]))
    return tuple(text for text in texts if text)


def _text_of(part: Any) -> str:
    if isinstance(part, bytes):
        part = part[:_TEXT_LENGTH].decode("latin-1").rstrip("\0")
    return "" if part is None else peer_text(str(part), _TEXT_LENGTH)


def _element(dataset: Dataset, tag: int) -> DataElement | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            element: DataElement | None = dataset.get(tag)
        except UNREADABLE_VALUE:
            return None
    return element
