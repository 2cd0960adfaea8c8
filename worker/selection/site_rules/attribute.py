"""Attributes that a rule may ask for."""

import re
from dataclasses import dataclass
from typing import Any, Final

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

_TAG: Final = re.compile(r"\(?([0-9A-Fa-f]{4}),\s?([0-9A-Fa-f]{4})\)?", re.ASCII)
_NUMBERS: Final = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "US or SS"})
_TEXTS: Final = frozenset({
    "AE", "AS", "AT", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT",
})  # fmt: skip
_PATIENT: Final = 0x0010


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute by its tag."""

    tag: int
    keyword: str  # empty for a private one
    vr: str  # of the dictionary (PS3.6); empty for a private one, of which anything may be asked

    @property
    def label(self) -> str:
        """``(0018,1210) ConvolutionKernel``."""
        return f"({self.tag >> 16:04X},{self.tag & 0xFFFF:04X}) {self.keyword}".rstrip()

    @property
    def numeric(self) -> bool:
        return self.vr in _NUMBERS or not self.vr

    @property
    def has_text(self) -> bool:
        """False for a sequence and for bulk data, which are there or not."""
        return self.numeric or self.vr in _TEXTS

    @property
    def about_patient(self) -> bool:
        """Of group 0010: it may name the patient, so its value is not repeated."""
        return self.tag >> 16 == _PATIENT


def attribute_of(written: Any) -> Attribute:
    """The attribute of a keyword or of ``(gggg,eeee)``.

    Raises ``ValueError`` for one that PS3.6 does not have, unless it is private, and for one that stands in
    no header: of group 0000 or 0002, or from the pixel data on.
    """
    found = _TAG.fullmatch(written) if isinstance(written, str) else None
    tag = int(found[1] + found[2], 16) if found else tag_for_keyword(str(written))
    if tag is None:
        raise ValueError(f"there is no attribute {written!r}; write its keyword or (gggg,eeee)")
    group = tag >> 16
    if group < 0x0008 or group >= 0x7FE0:
        raise ValueError(f"{written}: only attributes from group 0008 up to the pixel data can be asked for")
    if group % 2:
        return Attribute(tag, "", "")
    try:
        return Attribute(tag, keyword_for_tag(tag), dictionary_VR(tag))
    except KeyError:
        raise ValueError(f"PS3.6 has no attribute {written}") from None
