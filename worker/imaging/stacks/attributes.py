"""What a frame's header says of its kind, in the words of PS3.3 and of the makers."""

import re
import struct
from collections.abc import Callable
from typing import Any, Final

from pydicom.dataset import Dataset

from neurotriage.dicom.attributes import functional_group, number, value
from neurotriage.dicom.headers import MALFORMED, text

Value = float | str | None
Reader = Callable[[Dataset, int], Value]  # of a header and a 0-based frame; None where nothing is said

# Parts of the Dixon signal in ImageType and FrameType (PS3.3 C.7.6.1.1.2, C.8.13.3.1.1): of Siemens, GE and
# Enhanced MR written out, of Philips as letters, which (2005,1011) repeats.
# Keys are without blanks, hyphens and underscores, which differ from maker to maker.
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
    """Whether a contrast agent is named (PS3.3 C.7.6.4)."""
    if value(dataset, "ContrastBolusAgentSequence"):
        return True
    return text(dataset, "ContrastBolusAgent").upper() not in _NO_AGENT


def type_words(dataset: Dataset, index: int) -> tuple[tuple[str, ...], ...]:
    """The values of ImageType and of this frame's FrameType, in capitals."""
    kinds = [_words(dataset, "ImageType")]
    for name in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence"):
        group = functional_group(dataset, index, name)
        if group is not None:
            kinds.append(_words(group, "FrameType"))
    return tuple(kinds)


def b_value(dataset: Dataset, index: int) -> float | None:
    """Diffusion b-value in s/mm2: standard, else of Siemens, Philips, UIH, and of GE's echo-planar images."""
    stated = _number(dataset, index, "MRDiffusionSequence", "DiffusionBValue")
    if stated is not None:
        return stated
    for tag, creator in (
        ((0x0019, 0x100C), "SIEMENS MR HEADER"),
        ((0x2001, 0x1003), "PHILIPS IMAGING DD 001"),
        ((0x0065, 0x1009), "IMAGE PRIVATE HEADER"),
    ):
        own = _private_number(dataset, tag, creator)
        if own is not None:
            return own
    # GE fills this for other sequences, too, and adds 10^9.
    if "EP" in _words(dataset, "ScanningSequence"):
        own = _private_number(dataset, (0x0043, 0x1039), _GE)
        return None if own is None else own % 100_000
    return None


def component(dataset: Dataset, index: int) -> str | None:
    """The part of the complex signal that an MR image shows."""
    group = functional_group(dataset, index, "MRImageFrameTypeSequence")
    for place in (group, dataset):
        stated = text(place, "ComplexImageComponent").lower() if place is not None else ""
        if stated in _GE_COMPONENTS:
            return stated
    if text(dataset, "Modality").upper() != "MR":
        return None
    own = _private_number(dataset, (0x0043, 0x102F), _GE)
    if own is not None and own in range(len(_GE_COMPONENTS)):
        return _GE_COMPONENTS[int(own)]
    letters = [word for kind in reversed(type_words(dataset, index)) for word in kind[2:]]
    letters.append(_private_text(dataset, (0x2005, 0x1011), _PHILIPS).upper())
    return next((_COMPONENTS[word] for word in letters if word in _COMPONENTS), None)


def fat_water(dataset: Dataset, index: int) -> str | None:
    """The part of the Dixon signal that an MR image shows."""
    if text(dataset, "Modality").upper() != "MR":
        return None
    words = [word for kind in reversed(type_words(dataset, index)) for word in kind[2:]]
    words.append(_private_text(dataset, (0x2005, 0x1011), _PHILIPS).upper())
    return next((_FAT_WATER[key] for key in map(_joined, words) if key in _FAT_WATER), None)


def derivation(dataset: Dataset, index: int) -> str:
    """Value 1 of the frame's type."""
    return "derived" if type_words(dataset, index)[-1][:1] == ("DERIVED",) else "original"


def other_words(dataset: Dataset, index: int) -> str | None:
    """The words of the types, from value 3 on, that no other attribute tells."""
    words = {word for kind in type_words(dataset, index) for word in kind[2:]}
    told = {word for word in words if _joined(word) in _FAT_WATER or word in _COMPONENTS}
    return " ".join(sorted(words - told - {""})) or None


def kernel(dataset: Dataset, index: int) -> str | None:
    """The reconstruction kernel of a CT, in capitals."""
    group = functional_group(dataset, index, "CTReconstructionSequence")
    stated = text(group, "ConvolutionKernel") if group is not None else ""
    return (stated or text(dataset, "ConvolutionKernel")).upper() or None


def contrast(dataset: Dataset, index: int) -> str:
    """With an agent or without; of a frame by its own word (PS3.3 C.7.6.16.2.12)."""
    group = functional_group(dataset, index, "ContrastBolusUsageSequence")
    given = agent_given(dataset)
    if group is not None and text(group, "ContrastBolusAgentAdministered").upper() == "NO":
        given = False
    return WITH_CONTRAST if given else "without contrast"


def stack_id(dataset: Dataset, index: int) -> str | None:
    """Of a frame of an Enhanced object (PS3.3 C.7.6.16.2.2)."""
    group = functional_group(dataset, index, "FrameContentSequence")
    return (text(group, "StackID") if group is not None else "") or None


def grouped(group: str, name: str, plain: str = "") -> Reader:
    """A number of a frame's functional group, else of the header, there perhaps under a ``plain`` name."""
    return lambda dataset, index: _number(dataset, index, group, name, plain)


def moment(name: str) -> Reader:
    """When a frame was made, in seconds: its own date and time, else the instance's.

    Of an acquisition also by the moment that represents it best (PS3.3 C.7.6.16.2.2).
    """
    names = (f"Frame{name}DateTime", *(["FrameReferenceDateTime"] if name == "Acquisition" else []))

    def read(dataset: Dataset, index: int) -> float | None:
        group = functional_group(dataset, index, "FrameContentSequence")
        stated = [text(group, own) for own in names] if group is not None else []
        frame = next(filter(None, stated), "")
        date, time = text(dataset, f"{name}Date"), text(dataset, f"{name}Time")
        day = re.sub(r"\D", "", date)
        return seconds(frame or text(dataset, f"{name}DateTime") or (day if len(day) == 8 else "") + time)

    return read


def seconds(stated: str) -> float | None:
    """A DICOM date and time, or a time, as a number that grows with it; dots and colons do not matter."""
    found = re.match(r"^(\d{8})?(\d{2})(\d{2})?(\d{2})?(?:\.(\d+))?", stated.replace(":", "").strip())
    if not found:
        return None
    day, hours, minutes, whole, part = found.groups()
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
    """A maker's own element; where another maker reserved its block, it says something else."""
    try:
        reserved, element = dataset.get((tag[0], tag[1] >> 8)), dataset.get(tag)
        if reserved is not None and not str(reserved.value).upper().startswith(creator):
            return None
        return None if element is None else element.value
    except MALFORMED:
        return None


def _private_number(dataset: Dataset, tag: tuple[int, int], creator: str) -> float | None:
    held = _private(dataset, tag, creator)
    if isinstance(held, bytes):  # its type was lost on the way (PS3.5 6.2.2)
        as_text = held.rstrip(b"\0 ").split(b"\\")[0]
        if re.fullmatch(rb"[+-]?\d+(\.\d+)?", as_text):
            return float(as_text)
        form = {2: "<h", 4: "<f", 8: "<d"}.get(len(held))
        return None if form is None else float(struct.unpack(form, held)[0])
    if isinstance(held, (list, tuple)) or type(held).__name__ == "MultiValue":
        held = held[0] if len(held) else None
    try:
        return None if held is None else float(held)
    except (TypeError, ValueError):
        return None


def _private_text(dataset: Dataset, tag: tuple[int, int], creator: str) -> str:
    held = _private(dataset, tag, creator)
    if isinstance(held, bytes):
        held = held.decode("ascii", "replace")
    return "" if held is None else str(held).strip("\0 ")
