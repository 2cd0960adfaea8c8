"""Header attributes that distinguish kinds of image, by PS3.3 and by the makers' private elements."""

import re
import struct
from collections.abc import Callable
from typing import Any, Final

from pydicom.dataset import Dataset

from neurotriage.dicom.attributes import functional_group, number, value
from neurotriage.dicom.headers import MALFORMED, text

Value = float | str | None
# Of a header and a 0-based frame; None where the header states nothing.
Reader = Callable[[Dataset, int], Value]

# Parts of the Dixon signal in ImageType and FrameType (PS3.3 C.7.6.1.1.2, C.8.13.3.1.1): written out by
# Siemens, GE and in Enhanced MR, as letters by Philips, which also states them in (2005,1011).
# Keys are without blanks, hyphens and underscores, which makers use differently.
_FAT_WATER: Final = {
    "W": "water", "WATER": "water", "F": "fat", "FAT": "fat",
    "IP": "in-phase", "INPHASE": "in-phase",
    "OP": "opposed-phase", "OPP": "opposed-phase", "OPPPHASE": "opposed-phase", "OUTPHASE": "opposed-phase",
    "OUTOFPHASE": "opposed-phase", "OPPOSEDPHASE": "opposed-phase", "OPPOSED": "opposed-phase",
}  # fmt: skip
# Complex image component: (0008,9208), ImageType's letter (PS3.3 C.8.3.1.1.1), Philips (2005,1011), GE
# (0043,102F).
_GE_COMPONENTS: Final = ("magnitude", "phase", "real", "imaginary")
_COMPONENTS: Final = {
    **{part.upper()[:1]: part for part in _GE_COMPONENTS}, **{part.upper(): part for part in _GE_COMPONENTS},
}  # fmt: skip
_GE, _PHILIPS = "GEMS_PARM", "PHILIPS MR IMAGING DD 001"
WITH_CONTRAST: Final = "with contrast"
_NO_AGENT: Final = frozenset({"", "NO", "NONE", "N", "NA", "NULL", "0", "WITHOUT"})


def agent_given(dataset: Dataset) -> bool:
    """Whether the header names a contrast agent (PS3.3 C.7.6.4)."""
    if value(dataset, "ContrastBolusAgentSequence"):
        return True
    return text(dataset, "ContrastBolusAgent").upper() not in _NO_AGENT


def type_words(dataset: Dataset, index: int) -> tuple[tuple[str, ...], ...]:
    """The values of Image Type, and of the frame's Frame Type where it has one, in capitals.

    PS3.3 C.7.6.1.1.2, C.8.13.3.1.1, C.8.15.3.1; ``index`` is the 0-based frame, here and below.
    """
    kinds = [_words(dataset, "ImageType")]
    for name in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence"):
        group = functional_group(dataset, index, name)
        if group is not None:
            kinds.append(_words(group, "FrameType"))
    return tuple(kinds)


def b_value(dataset: Dataset, index: int) -> float | None:
    """Diffusion b-value in s/mm2; None where none is stated.

    Of the MR Diffusion macro (PS3.3 C.8.13.5.9), else of the private elements of Siemens, Philips, UIH, and
    of GE's echo-planar images.
    """
    stated = _number(dataset, index, "MRDiffusionSequence", "DiffusionBValue")
    if stated is not None:
        return stated
    for tag, creator in (
        ((0x0019, 0x100C), "SIEMENS MR HEADER"),
        ((0x2001, 0x1003), "PHILIPS IMAGING DD 001"),
        ((0x0065, 0x1009), "IMAGE PRIVATE HEADER"),
    ):
        private = _private_number(dataset, tag, creator)
        if private is not None:
            return private
    # GE also fills this element for other sequences, and adds 10^9.
    if "EP" in _words(dataset, "ScanningSequence"):
        private = _private_number(dataset, (0x0043, 0x1039), _GE)
        return None if private is None else private % 100_000
    return None


def component(dataset: Dataset, index: int) -> str | None:
    """``magnitude``, ``phase``, ``real`` or ``imaginary`` of an MR image; None where none is stated.

    Complex Image Component (0008,9208), else Image Type (PS3.3 C.8.3.1.1.1) and private elements.
    """
    group = functional_group(dataset, index, "MRImageFrameTypeSequence")
    for place in (group, dataset):
        stated = text(place, "ComplexImageComponent").lower() if place is not None else ""
        if stated in _GE_COMPONENTS:
            return stated
    if text(dataset, "Modality").upper() != "MR":
        return None
    private = _private_number(dataset, (0x0043, 0x102F), _GE)
    if private is not None and private in range(len(_GE_COMPONENTS)):
        return _GE_COMPONENTS[int(private)]
    letters = [word for kind in reversed(type_words(dataset, index)) for word in kind[2:]]
    letters.append(_private_text(dataset, (0x2005, 0x1011), _PHILIPS).upper())
    return next((_COMPONENTS[word] for word in letters if word in _COMPONENTS), None)


def fat_water(dataset: Dataset, index: int) -> str | None:
    """``water``, ``fat``, ``in-phase`` or ``opposed-phase`` of a Dixon image; None where none is stated.

    By Image Type and Frame Type (PS3.3 C.7.6.1.1.2) from value 3 on, and Philips (2005,1011).
    """
    if text(dataset, "Modality").upper() != "MR":
        return None
    words = [word for kind in reversed(type_words(dataset, index)) for word in kind[2:]]
    words.append(_private_text(dataset, (0x2005, 0x1011), _PHILIPS).upper())
    return next((_FAT_WATER[key] for key in map(_joined, words) if key in _FAT_WATER), None)


def derivation(dataset: Dataset, index: int) -> str:
    """``derived`` or ``original``: value 1 of Frame Type, else of Image Type (PS3.3 C.7.6.1.1.2)."""
    return "derived" if type_words(dataset, index)[-1][:1] == ("DERIVED",) else "original"


def other_words(dataset: Dataset, index: int) -> str | None:
    """The sorted words of Image Type and Frame Type from value 3 on (PS3.3 C.7.6.1.1.2), or None.

    Without those that ``component`` and ``fat_water`` read.
    """
    words = {word for kind in type_words(dataset, index) for word in kind[2:]}
    read_elsewhere = {word for word in words if _joined(word) in _FAT_WATER or word in _COMPONENTS}
    return " ".join(sorted(words - read_elsewhere - {""})) or None


def kernel(dataset: Dataset, index: int) -> str | None:
    """The Convolution Kernel (0018,1210) of a CT in capitals, also per frame; None where it is not stated."""
    group = functional_group(dataset, index, "CTReconstructionSequence")
    stated = text(group, "ConvolutionKernel") if group is not None else ""
    return (stated or text(dataset, "ConvolutionKernel")).upper() or None


def contrast(dataset: Dataset, index: int) -> str:
    """``with contrast`` or ``without contrast`` (PS3.3 C.7.6.4), per frame by C.7.6.16.2.12."""
    group = functional_group(dataset, index, "ContrastBolusUsageSequence")
    given = agent_given(dataset)
    if group is not None and text(group, "ContrastBolusAgentAdministered").upper() == "NO":
        given = False
    return WITH_CONTRAST if given else "without contrast"


def stack_id(dataset: Dataset, index: int) -> str | None:
    """Stack ID of a frame of an Enhanced object (PS3.3 C.7.6.16.2.2); None where it has none."""
    group = functional_group(dataset, index, "FrameContentSequence")
    return (text(group, "StackID") if group is not None else "") or None


def grouped(group: str, name: str, plain: str = "") -> Reader:
    """A reader of a number in the functional group ``group`` of a frame (PS3.3 C.7.6.16).

    Without that group, of the header, where the attribute may have another name, ``plain``.
    """
    return lambda dataset, index: _number(dataset, index, group, name, plain)


def moment(name: str) -> Reader:
    """A reader of a frame's date and time in ``seconds``: its own, else the instance's.

    ``name``: ``Acquisition``, for which Frame Reference DateTime counts too (PS3.3 C.7.6.16.2.2), or
    ``Content``.
    """
    names = (f"Frame{name}DateTime", *(["FrameReferenceDateTime"] if name == "Acquisition" else []))

    def read(dataset: Dataset, index: int) -> float | None:
        group = functional_group(dataset, index, "FrameContentSequence")
        stated = [text(group, name_of_group) for name_of_group in names] if group is not None else []
        frame = next(filter(None, stated), "")
        date, time = text(dataset, f"{name}Date"), text(dataset, f"{name}Time")
        day = re.sub(r"\D", "", date)
        return seconds(frame or text(dataset, f"{name}DateTime") or (day if len(day) == 8 else "") + time)

    return read


def seconds(stated: str) -> float | None:
    """A DT or TM value (PS3.5 6.2) as a number of seconds that grows with time; None where it is malformed.

    Months count 31 days, so only the order is exact. Colons of ACR-NEMA times are ignored.
    """
    matched = re.match(r"^(\d{8})?(\d{2})(\d{2})?(\d{2})?(?:\.(\d+))?", stated.replace(":", "").strip())
    if not matched:
        return None
    day, hours, minutes, whole, part = matched.groups()
    days = int(day[:4]) * 372 + int(day[4:6]) * 31 + int(day[6:]) if day else 0
    return (
        days * 86400.0
        + int(hours) * 3600
        + int(minutes or 0) * 60
        + int(whole or 0)
        + float(f"0.{part or 0}")
    )


def _number(dataset: Dataset, index: int, group_name: str, name: str, plain: str = "") -> float | None:
    group = functional_group(dataset, index, group_name) if group_name else None
    stated = number(group, name) if group is not None else None
    return stated if stated is not None else number(dataset, plain or name)


def _joined(word: str) -> str:
    return re.sub(r"[ _-]", "", word)


def _words(dataset: Dataset, name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text(dataset, name).upper().split("\\"))


def _private(dataset: Dataset, tag: tuple[int, int], creator: str) -> Any:
    """A private element, or None where another creator reserved its block (PS3.5 7.8.1)."""
    try:
        reserved, element = dataset.get((tag[0], tag[1] >> 8)), dataset.get(tag)
        if reserved is not None and not str(reserved.value).upper().startswith(creator):
            return None
        return None if element is None else element.value
    except MALFORMED:
        return None


def _private_number(dataset: Dataset, tag: tuple[int, int], creator: str) -> float | None:
    stored = _private(dataset, tag, creator)
    if isinstance(stored, bytes):  # its VR is unknown (PS3.5 6.2.2)
        as_text = stored.rstrip(b"\0 ").split(b"\\")[0]
        if re.fullmatch(rb"[+-]?\d+(\.\d+)?", as_text):
            return float(as_text)
        form = {2: "<h", 4: "<f", 8: "<d"}.get(len(stored))
        return None if form is None else float(struct.unpack(form, stored)[0])
    if isinstance(stored, (list, tuple)) or type(stored).__name__ == "MultiValue":
        stored = stored[0] if len(stored) else None
    try:
        return None if stored is None else float(stored)
    except (TypeError, ValueError):
        return None


def _private_text(dataset: Dataset, tag: tuple[int, int], creator: str) -> str:
    stored = _private(dataset, tag, creator)
    if isinstance(stored, bytes):
        stored = stored.decode("ascii", "replace")
    return "" if stored is None else str(stored).strip("\0 ")
