"""Two tables of attributes that divide the images of a series into kinds and passes, and rank them.

``KIND_ATTRIBUTES`` divide by what an image shows (part of the signal, echo, kernel), ``PASS_ATTRIBUTES`` by
the pass over the same places that it belongs to. Each row reads one attribute of a frame (``attributes``
names the sources) and ranks its values; the smallest rank is analysed. Rows are applied in order.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from worker.imaging.stacks import attributes
from worker.imaging.stacks.attributes import Reader, grouped, moment

Rank = Callable[[Any], tuple[float, ...]]
Describe = Callable[[Any], str]

# Diffusion starts here, in s/mm2; ordinary Philips series state b = 0.
MIN_B_VALUE: Final = 10.0
_COMPONENT_RANK: Final = {"magnitude": 0, None: 1, "real": 2, "imaginary": 3, "phase": 4}
_FAT_WATER_RANK: Final = {None: 0, "water": 1, "in-phase": 2, "opposed-phase": 3, "fat": 4}
# Stated by a word of ImageType only: normalised intensity, corrected distortion.
_BETTER_WORDS: Final = frozenset({"NORM", "DIS2D", "DIS3D"})
# The uniform image of MP2RAGE looks like T1; its first inversion resembles no usual weighting.
_MP2RAGE_RANK: Final = {"UNI-DEN": -2.0, "UNI": -1.0, "INV2": 1.0, "INV1": 2.0}
# Reconstruction kernels by name (GE, Philips, Canon); Siemens' have numbers (H31s, Hr40, J40).
_SOFT_NAMED: Final = re.compile(r"STAND|STD|SOFT|BRAIN|SMOOTH|^U?[ABC]$|FC0?[1-9]$|FC1\d|FC2\d|FC4\d|FC6\d")
_SHARP_NAMED: Final = re.compile(r"BONE|EDGE|LUNG|SHARP|ULTRA|DETAIL|^[DELY]|FC3\d|FC5\d|FC8\d")
_SIEMENS_NUMBER: Final = re.compile(r"^(?!FC)[A-Z]{1,2}(\d{2})")
_SHARP_FROM: Final = 50
# Closest to the training data: heads in slices of 5 mm at 120 kV, T2 at 100 ms.
_USUAL_THICKNESS_MM, _USUAL_KV, _USUAL_ECHO_MS = 5.0, 120.0, 100.0
_TIMING: Final = "MRTimingAndRelatedParametersSequence"


def _never(_value: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class KindAttribute:
    """One attribute that divides images, a row of the tables below."""

    name: str
    read: Reader
    rank: Rank
    describe: Describe  # a value as a phrase
    tolerance: float = 0.0  # numbers that differ by this much at most are one value
    relative: float = 0.0  # the same as a share of the number
    poor: Callable[[Any], bool] = _never  # values analysed only where there are no others, and not with them
    weak: bool = False  # devices also number single images of one pass by it


def sharpness(kernel: str | None) -> int:
    """The sharpness of a Convolution Kernel (0018,1210): 0 soft, 1 unknown, 2 sharp."""
    first = (kernel or "").split("\\")[0].strip()
    siemens = _SIEMENS_NUMBER.match(first)
    if siemens:
        return 2 if int(siemens[1]) >= _SHARP_FROM else 0
    if _SHARP_NAMED.search(first):
        return 2
    return 0 if _SOFT_NAMED.search(first) else 1


def _by_text(text: str | None) -> tuple[float, ...]:
    return tuple(map(float, (text or "").encode()))


def _kernel_rank(kernel: str | None) -> tuple[float, ...]:
    return float(sharpness(kernel)), *_by_text(kernel)


def _words_rank(words: str | None) -> tuple[float, ...]:
    several = (words or "").split()
    mp2rage = min((_MP2RAGE_RANK[word] for word in several if word in _MP2RAGE_RANK), default=0.0)
    return mp2rage, -float(len(_BETTER_WORDS.intersection(several))), *_by_text(words)


def _near(usual: float) -> Rank:
    return lambda value: (1.0, 0.0) if value is None else (0.0, abs(value - usual))


def _largest_first(value: float | None) -> tuple[float, ...]:
    return (1.0, 0.0) if value is None else (0.0, -value)


def _smallest_first(value: float | None) -> tuple[float, ...]:
    return (1.0, 0.0) if value is None else (0.0, value)


def _in(unit: str, noun: str) -> Describe:
    return lambda value: f"no {noun}" if value is None else f"{noun} {value:g} {unit}".strip()


def _another(noun: str) -> Describe:
    return lambda _: f"another {noun}"


KIND_ATTRIBUTES: Final = (
    KindAttribute(
        "component", attributes.component, lambda v: (_COMPONENT_RANK[v],),
        lambda v: f"{v or 'unnamed'} images", poor=lambda v: v in ("phase", "real", "imaginary"),
    ),
    KindAttribute(
        "fat and water", attributes.fat_water, lambda v: (_FAT_WATER_RANK[v],),
        lambda v: f"{v or 'unseparated'} images", poor=lambda v: v in ("opposed-phase", "fat"),
    ),
    KindAttribute(
        "b-value", attributes.b_value, lambda v: (v or 0.0,), _in("s/mm2", "b-value"), tolerance=5.0,
        poor=lambda v: (v or 0.0) >= MIN_B_VALUE,
    ),
    KindAttribute("derivation", attributes.derivation, lambda v: (v == "derived",), lambda v: f"{v} images"),
    KindAttribute("kernel", attributes.kernel, _kernel_rank, lambda v: f"kernel {v or 'unnamed'}"),
    KindAttribute(
        "image type", attributes.other_words, _words_rank, lambda v: f"image type {v or 'unnamed'}"
    ),
    KindAttribute(
        "thickness", grouped("PixelMeasuresSequence", "SliceThickness"), _near(_USUAL_THICKNESS_MM),
        _in("mm", "slice thickness"), tolerance=0.05,
    ),
    KindAttribute(
        "voltage", grouped("CTXRayDetailsSequence", "KVP"), _near(_USUAL_KV), _in("kV", "tube voltage"),
        tolerance=1.0,
    ),
    KindAttribute(
        "echo time", grouped("MREchoSequence", "EffectiveEchoTime", "EchoTime"), _near(_USUAL_ECHO_MS),
        _in("ms", "echo time"), tolerance=0.5,
    ),
    KindAttribute("echo", grouped("", "EchoNumbers"), _largest_first, _in("", "echo")),
    KindAttribute(
        "inversion time", grouped("MRModifierSequence", "InversionTimes", "InversionTime"), _largest_first,
        _in("ms", "inversion time"), relative=0.05,
    ),
    KindAttribute(
        "flip angle", grouped(_TIMING, "FlipAngle"), _largest_first, _in("degrees", "flip angle"),
        tolerance=1.0,
    ),
    KindAttribute(
        "repetition time", grouped(_TIMING, "RepetitionTime"), _largest_first, _in("ms", "repetition time"),
        relative=0.05,
    ),
    KindAttribute(
        "contrast agent", attributes.contrast, lambda v: (v != attributes.WITH_CONTRAST,),
        lambda v: f"images {v}",
    ),
    KindAttribute("stack", attributes.stack_id, _by_text, lambda v: f"Stack ID {v}"),
)  # fmt: skip

PASS_ATTRIBUTES: Final = (
    KindAttribute(
        "temporal position",
        grouped("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
        _smallest_first, _in("", "temporal position"),
    ),
    KindAttribute(
        "time offset", grouped("TemporalPositionSequence", "TemporalPositionTimeOffset"), _smallest_first,
        _in("s", "time offset"),
    ),
    KindAttribute(
        "acquisition", grouped("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
        _smallest_first, _in("", "acquisition"),
    ),
    KindAttribute(
        "acquisition time", moment("Acquisition"), _smallest_first, _another("acquisition time"), weak=True
    ),
    KindAttribute(
        "trigger time",
        grouped("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "TriggerTime"),
        _smallest_first, _in("ms", "trigger time"), weak=True,
    ),
    KindAttribute("content time", moment("Content"), _smallest_first, _another("content time"), weak=True),
    KindAttribute(
        "number", grouped("", "InstanceNumber"), _smallest_first, _another("instance number"), weak=True
    ),
)  # fmt: skip
