"""Which MR weighting a series has, guessed from its names and timing."""

import re
import unicodedata
from typing import Final

from pydicom.dataset import Dataset

from neurotriage.core.headers import text
from worker.imaging.attributes import functional_group, number, numbers, value

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
_NO_AGENT: Final = frozenset({"", "NO", "NONE", "N", "NA", "NULL", "0", "WITHOUT"})

# AcquisitionContrast (0008,9209) of Enhanced MR, PS3.3 C.8.13.3.1.4.
_STATED: Final = {
    "T1": "T1",
    "T2": "T2",
    "T2_STAR": "T2",
    "PROTON_DENSITY": "PD",
    "FLUID_ATTENUATED": "FLAIR",
}
_BY_NAME: Final = (
    (re.compile(r"FLAIR|DARK.?FLUID|TIRM"), "FLAIR"),
    (re.compile(r"(?<![A-Z0-9])T2|SWI(?![A-Z])|HEMO"), "T2"),
    (re.compile(r"(?<![A-Z0-9])T1|MP.?RAGE|SPGR|BRAVO|(?<![A-Z])TFL(?![A-Z])"), "T1"),
    (re.compile(r"(?<![A-Z])PD(?![A-Z])|PROTON|DENSIT"), "PD"),
)
_AGENT_NAMED: Final = re.compile(
    r"GAD|(?<![A-Z])GD(?![A-Z])|\+ ?C(?![A-Z])|\bC\+|T1C|POST(?![A-Z])|\bKM\b|CONTRAST|\bCE\b"
)


def guess_sequence(dataset: Dataset) -> str:
    """T1, T1c, T2, FLAIR, PD or unknown for an MR header; "CT" for a CT header."""
    if text(dataset, "Modality").upper() == "CT":
        return "CT"
    names = _names(dataset)
    weighting = _stated(dataset) or _named(names) or _timed(dataset)
    if weighting == "T1" and (_agent_given(dataset) or _AGENT_NAMED.search(names)):
        return "T1c"
    return weighting


def _names(dataset: Dataset) -> str:
    joined = " ".join(text(dataset, name) for name in _NAMES)
    plain = unicodedata.normalize("NFKD", joined).encode("ascii", "ignore").decode()
    return plain.upper().replace("_", " ")


def _stated(dataset: Dataset) -> str:
    group = functional_group(dataset, 0, "MRImageFrameTypeSequence")
    return _STATED.get(text(group if group is not None else dataset, "AcquisitionContrast").upper(), "")


def _named(names: str) -> str:
    return next((weighting for pattern, weighting in _BY_NAME if pattern.search(names)), "")


def _timed(dataset: Dataset) -> str:
    echo = _timing(dataset, "MREchoSequence", "EffectiveEchoTime", "EchoTime")
    repetition = _timing(dataset, "MRTimingAndRelatedParametersSequence", "RepetitionTime", "RepetitionTime")
    inversion = _timing(dataset, "MRModifierSequence", "InversionTimes", "InversionTime") or 0.0
    if echo is None or repetition is None:
        return UNKNOWN
    if inversion >= _FLUID_INVERSION_MS and echo >= _LONG_ECHO_MS:
        return "FLAIR"
    if "GR" in text(dataset, "ScanningSequence").upper().split("\\"):
        if echo >= _GRADIENT_T2_ECHO_MS:
            return "T2"
        return "T1" if repetition <= _GRADIENT_T1_REPETITION_MS or inversion else UNKNOWN
    if echo >= _LONG_ECHO_MS:
        return "T2" if repetition >= _LONG_REPETITION_MS else UNKNOWN
    if echo <= _SHORT_ECHO_MS:
        if repetition >= _LONG_REPETITION_MS:
            return "PD"
        return "T1" if repetition <= _SHORT_REPETITION_MS else UNKNOWN
    return UNKNOWN


def _timing(dataset: Dataset, group_name: str, grouped: str, plain: str) -> float | None:
    group = functional_group(dataset, 0, group_name)
    stated = numbers(group, grouped) if group is not None else ()
    return stated[0] if stated else number(dataset, plain)


def _agent_given(dataset: Dataset) -> bool:
    if value(dataset, "ContrastBolusAgentSequence"):
        return True
    return text(dataset, "ContrastBolusAgent").upper() not in _NO_AGENT
