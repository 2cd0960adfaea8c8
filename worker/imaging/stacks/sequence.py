"""The MR weighting of a series, from its names and timing."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from neurotriage.dicom.attributes import functional_group, number, numbers
from neurotriage.dicom.headers import text
from worker.imaging.stacks.attributes import agent_given

UNKNOWN: Final = "unknown"
_NAMES: Final = ("SeriesDescription", "ProtocolName", "SequenceName")

# Timing that tells weightings apart at 1.5 and 3 T, in ms (Westbrook, MRI in Practice, chapter 2).
_LONG_ECHO_MS: Final = 60.0
_SHORT_ECHO_MS: Final = 35.0
_LONG_REPETITION_MS: Final = 1800.0
_SHORT_REPETITION_MS: Final = 1100.0
_FLUID_INVERSION_MS: Final = 1500.0  # nulls cerebrospinal fluid
_GRADIENT_T2_ECHO_MS: Final = 15.0
_GRADIENT_T1_REPETITION_MS: Final = 500.0
_T1_INVERSION_MS: Final = 400.0  # up to that of fluid it gives T1 weighting; below, it nulls fat

# AcquisitionContrast (0008,9209) of Enhanced MR, PS3.3 C.8.13.3.1.4.
_STATED: Final = {
    "T1": "T1",
    "T2": "T2",
    "T2_STAR": "T2",
    "PROTON_DENSITY": "PD",
    "FLUID_ATTENUATED": "FLAIR",
}
# The weighting by name, and that by timing which overrules it. FLAIR against T2 and T1 against PD depend on
# an inversion time that many headers omit: there the name is kept.
_RULED_OUT: Final = frozenset({
    ("T1", "T2"), ("T1", "FLAIR"), ("PD", "T2"), ("PD", "FLAIR"), ("PD", "T1"),
    ("T2", "T1"), ("T2", "PD"), ("T2", "FLAIR"), ("FLAIR", "T1"),
})  # fmt: skip
_BY_NAME: Final = (
    (re.compile(r"(?<![A-Z0-9])T1.{0,12}FLAIR"), "T1"),
    (re.compile(r"FLAIR|DARK.?FLUID|TIRM"), "FLAIR"),
    (re.compile(r"(?<![A-Z0-9])T2|SWI(?![A-Z])|HEMO"), "T2"),
    (re.compile(r"(?<![A-Z0-9])T1|MP.?RAGE|SPGR|BRAVO|(?<![A-Z])TFL(?![A-Z])"), "T1"),
    (re.compile(r"(?<![A-Z])PD(?![A-Z])|PROTON|DENSIT"), "PD"),
)
_AGENT_NAMED: Final = re.compile(
    r"GAD|(?<![A-Z])GD(?![A-Z])|\+ ?C(?![A-Z])|\bC\+|T1C|POST(?![A-Z])|\bKM\b|CONTRAST|\bCE\b"
)


def guess_sequence(dataset: Dataset, index: int = 0) -> str:
    """T1, T1c, T2, FLAIR, PD or unknown for a frame (0-based) of an MR header; "CT" for a CT header.

    Acquisition Contrast (PS3.3 C.8.13.3.1.4) decides, else the names of the series, unless its timing
    contradicts them beyond doubt.
    """
    if text(dataset, "Modality").upper() == "CT":
        return "CT"
    names = _names(dataset)
    weighting = _stated(dataset, index)
    if not weighting:
        timing = _timing(dataset, index)
        weighting = _weighting(_named(names), timing)
    if weighting == "T1" and (agent_given(dataset) or _AGENT_NAMED.search(names)):
        return "T1c"
    return weighting


@dataclass(frozen=True, slots=True)
class _Timing:
    echo_ms: float | None
    repetition_ms: float | None
    inversion_ms: float
    gradient: bool  # a gradient echo

    @property
    def weighting(self) -> str:
        """The weighting by timing alone."""
        echo, repetition = self.echo_ms, self.repetition_ms
        if echo is None or repetition is None:
            return UNKNOWN
        if self.inversion_ms >= _FLUID_INVERSION_MS and echo >= _LONG_ECHO_MS:
            return "FLAIR"
        if self.gradient:
            if echo >= _GRADIENT_T2_ECHO_MS:
                return "T2"
            return "T1" if repetition <= _GRADIENT_T1_REPETITION_MS or self.inversion_ms else UNKNOWN
        if echo >= _LONG_ECHO_MS:
            return "T2" if repetition >= _LONG_REPETITION_MS else UNKNOWN
        if echo > _SHORT_ECHO_MS:
            return UNKNOWN
        if _T1_INVERSION_MS <= self.inversion_ms < _FLUID_INVERSION_MS:
            return "T1"
        if repetition >= _LONG_REPETITION_MS:
            return "PD"
        return "T1" if repetition <= _SHORT_REPETITION_MS else UNKNOWN


def _weighting(named: str, timing: _Timing) -> str:
    """The weighting by name, unless the timing overrules it."""
    timed = timing.weighting
    if not named:
        return timed
    if named == "FLAIR" and timing.echo_ms is not None and timing.echo_ms <= _SHORT_ECHO_MS:
        return "T1"  # GE's T1 FLAIR, with or without its T1
    if timing.gradient and timed != "T2":
        return named  # balanced gradient echoes have the timing of T1
    if (named, timed) in _RULED_OUT:
        return timed
    return named


def _names(dataset: Dataset) -> str:
    joined = " ".join(text(dataset, name) for name in _NAMES)
    plain = unicodedata.normalize("NFKD", joined).encode("ascii", "ignore").decode()
    return plain.upper().replace("_", " ")


def _stated(dataset: Dataset, index: int) -> str:
    group = functional_group(dataset, index, "MRImageFrameTypeSequence")
    return _STATED.get(text(group if group is not None else dataset, "AcquisitionContrast").upper(), "")


def _named(names: str) -> str:
    return next((weighting for pattern, weighting in _BY_NAME if pattern.search(names)), "")


def _timing(dataset: Dataset, index: int) -> _Timing:
    group = "MRTimingAndRelatedParametersSequence"
    return _Timing(
        _time_ms(dataset, index, "MREchoSequence", "EffectiveEchoTime", "EchoTime"),
        _time_ms(dataset, index, group, "RepetitionTime", "RepetitionTime"),
        _time_ms(dataset, index, "MRModifierSequence", "InversionTimes", "InversionTime") or 0.0,
        "GR" in text(dataset, "ScanningSequence").upper().split("\\"),
    )


def _time_ms(dataset: Dataset, index: int, group_name: str, grouped: str, plain: str) -> float | None:
    group = functional_group(dataset, index, group_name)
    stated = numbers(group, grouped) if group is not None else ()
    return stated[0] if stated else number(dataset, plain)
