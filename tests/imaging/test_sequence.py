"""The weighting of an MR series is read from its names and timing."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from worker.imaging.stacks.sequence import guess_sequence

pytestmark = pytest.mark.unit


def _header(**attributes: Any) -> Dataset:
    dataset = Dataset()
    dataset.Modality = "MR"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize(
    ("description", "sequence"),
    [
        ("Ax T1 FLAIR", "T1"),
        ("sT2W/FLAIR", "FLAIR"),
        ("t2_tirm_tra_dark-fluid", "FLAIR"),
        ("AX T2 FSE", "T2"),
        ("T2W/FE-EPI", "T2"),
        ("t1_mprage_sag", "T1"),
        ("AX T1 +C", "T1c"),
        ("AX T1 POST GAD", "T1c"),
        ("SAG T1 POSTERIOR FOSSA", "T1"),
        ("FSE PD AXIAL OBL", "PD"),
        ("AAA", "unknown"),
    ],
)
def test_a_name_says_the_weighting(description: str, sequence: str) -> None:
    assert guess_sequence(_header(SeriesDescription=description)) == sequence


@pytest.mark.parametrize(
    ("kind", "echo", "repetition", "inversion", "sequence"),
    [
        ("SE", 15, 500, None, "T1"),
        ("SE", 100, 4000, None, "T2"),
        ("SE", 20, 2500, None, "PD"),
        ("IR", 100, 9000, 2500, "FLAIR"),
        ("GR", 3, 8, 400, "T1"),
        ("GR", 25, 600, None, "T2"),
        ("SE", 45, 1500, None, "unknown"),
    ],
)
def test_without_a_name_the_timing_says_it(
    kind: str, echo: float, repetition: float, inversion: float | None, sequence: str
) -> None:
    header = _header(ScanningSequence=kind, EchoTime=echo, RepetitionTime=repetition)
    if inversion is not None:
        header.InversionTime = inversion
    assert guess_sequence(header) == sequence


@pytest.mark.parametrize(
    ("description", "timing", "sequence"),
    [
        ("AX FLAIR", {"EchoTime": 12, "RepetitionTime": 2500, "InversionTime": 860}, "T1"),  # GE's T1 FLAIR
        ("AX T1", {"EchoTime": 100, "RepetitionTime": 4500}, "T2"),
        ("AX T2", {"EchoTime": 12, "RepetitionTime": 550}, "T1"),
        ("AX T2", {"EchoTime": 110, "RepetitionTime": 9000, "InversionTime": 2500}, "FLAIR"),
        ("PD/T2", {"EchoTime": 20, "RepetitionTime": 2500}, "PD"),
        ("AX FLAIR", {"EchoTime": 110, "RepetitionTime": 9000}, "FLAIR"),  # without its inversion time
        ("T1 MPRAGE", {"EchoTime": 3, "RepetitionTime": 2300, "ScanningSequence": "GR"}, "T1"),
        ("T2 CISS", {"EchoTime": 3, "RepetitionTime": 7, "ScanningSequence": "GR"}, "T2"),
        ("T1 TSE", {"EchoTime": 10, "RepetitionTime": 2000}, "T1"),
    ],
)
def test_timing_that_rules_a_name_out_wins(description: str, timing: dict[str, Any], sequence: str) -> None:
    assert guess_sequence(_header(SeriesDescription=description, **timing)) == sequence


def test_a_contrast_agent_makes_a_t1_a_t1c_unless_it_says_none() -> None:
    assert guess_sequence(_header(SeriesDescription="AX T1", ContrastBolusAgent="Dotarem")) == "T1c"
    assert guess_sequence(_header(SeriesDescription="AX T1", ContrastBolusAgent="NONE")) == "T1"
    assert guess_sequence(_header(SeriesDescription="AX T2", ContrastBolusAgent="Dotarem")) == "T2"


def test_a_header_without_anything_is_unknown() -> None:
    assert guess_sequence(_header()) == "unknown"
