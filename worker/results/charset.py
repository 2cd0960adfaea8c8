"""The character set in which an object is written: the source's if it can encode every text, else UTF-8.

Some readers compare names byte by byte: MRtrix 3.0.3 takes one study in two character sets for two studies.
"""

import io
import re
import warnings
from collections.abc import Iterator
from typing import Final

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import DataElement
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, VR

UTF_8: Final = "ISO_IR 192"

# Defined terms (PS3.3 C.12.1.1.2): single-byte sets, sets with code extensions, sets allowed only alone.
_SINGLE_BYTE: Final = ("100", "101", "109", "110", "144", "127", "126", "138", "148", "203", "13", "166")
_MULTI_BYTE: Final = frozenset(f"ISO 2022 IR {number}" for number in ("87", "159", "149", "58"))
_EXTENSIONS: Final = _MULTI_BYTE | {f"ISO 2022 IR {number}" for number in (*_SINGLE_BYTE, "6")}
_ALONE: Final = frozenset({UTF_8, "GB18030", "GBK", *(f"ISO_IR {number}" for number in _SINGLE_BYTE)})
_DEFAULT: Final = ("", "None", "ISO_IR 6", "ISO 2022 IR 6")
_SPELLING: Final = re.compile(r"ISO.(2022.)?IR.(\d+)", re.ASCII)


def source_character_set(header: Dataset) -> list[str]:
    """The source's Specific Character Set as defined terms (PS3.3 C.12.1.1.2).

    Empty for the default repertoire (ISO 646). A misspelt term (``ISO-IR 100``) is corrected; an unknown one
    gives UTF-8.
    """
    value = header.get("SpecificCharacterSet")
    terms = [_spelt(str(term)) for term in ([value] if value is None or isinstance(value, str) else value)]
    if len(terms) == 1 and (alone := re.sub(r"^ISO 2022 IR", "ISO_IR", terms[0])) in _ALONE:
        return [alone]
    if all(term in _DEFAULT for term in terms):
        return []
    first = re.sub(r"^ISO_IR", "ISO 2022 IR", terms[0])
    extended = ["" if first in _DEFAULT else first, *terms[1:]]
    if extended[0] in _MULTI_BYTE:  # which no data set can start with
        extended.insert(0, "")
    return extended if all(term in _EXTENSIONS for term in extended if term) else [UTF_8]


def set_character_set(dataset: Dataset) -> None:
    """Set Specific Character Set (0008,0005) of a finished data set.

    The stated set is kept if every text survives encoding in it, else it becomes UTF-8 (ISO_IR 192).
    """
    terms = source_character_set(dataset)
    foreign = [element for element in _texts(dataset) if not _is_plain(element)]
    chosen = terms if all(_survives(element, terms) for element in foreign) else [UTF_8]
    if chosen:
        dataset.SpecificCharacterSet = chosen[0] if len(chosen) == 1 else chosen
    else:
        dataset.pop("SpecificCharacterSet", None)


def _spelt(term: str) -> str:
    term = term.strip()
    matched = _SPELLING.fullmatch(term)
    if matched is None:
        return term
    return f"{'ISO 2022 IR' if matched[1] else 'ISO_IR'} {matched[2]}"


def _texts(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        if element.VR == VR.SQ:
            for item in element.value:
                yield from _texts(item)
        elif element.VR in CUSTOMIZABLE_CHARSET_VR or element.VR == VR.PN:
            yield element


def _values(element: DataElement) -> list[str]:
    return [str(value) for value in (element.value if element.VM > 1 else [element.value])]


def _is_plain(element: DataElement) -> bool:
    """Whether a text is the same bytes in every set: ISO 646, without what ISO IR 14 (Japan) replaces."""
    return all(value.isascii() and "~" not in value for value in _values(element))


def _survives(element: DataElement, terms: list[str]) -> bool:
    """Whether a text that is written in these character sets reads back unchanged."""
    if not terms:
        return all(value.isascii() for value in _values(element))
    trial, file = Dataset(), io.BytesIO()
    trial.SpecificCharacterSet = terms
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial.add(DataElement(element.tag, element.VR, element.value))
        dcmwrite(file, trial, implicit_vr=False, little_endian=True)
        file.seek(0)
        return _values(dcmread(file, force=True)[element.tag]) == _values(element)
