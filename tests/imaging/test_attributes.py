"""What makers write beside the standard is read, also where its type was lost on the way."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from worker.imaging.stacks.attributes import b_value, component, fat_water, seconds
from worker.imaging.stacks.kinds import sharpness

pytestmark = pytest.mark.unit


def _mr(*private: tuple[int, str, Any], **attributes: Any) -> Dataset:
    dataset = Dataset()
    dataset.Modality = "MR"
    for tag, kind, value in private:
        dataset.add_new(tag, kind, value)
    for name, stated in attributes.items():
        setattr(dataset, name, stated)
    return dataset


@pytest.mark.parametrize(
    ("header", "b"),
    [
        (_mr(DiffusionBValue=800.0), 800.0),
        (_mr((0x00190010, "LO", "SIEMENS MR HEADER"), (0x0019100C, "IS", "1000")), 1000.0),
        (_mr((0x00190010, "LO", "SIEMENS MR HEADER"), (0x0019100C, "UN", b"1000")), 1000.0),
        (_mr((0x20010010, "LO", "Philips Imaging DD 001"), (0x20011003, "FL", 700.0)), 700.0),
        (_mr((0x20011003, "UN", b"\x00\x00\x2f\x44")), 700.0),
        (_mr((0x00431039, "IS", ["1000000900", "8", "0", "0"]), ScanningSequence=["EP", "RM"]), 900.0),
        (_mr((0x00431039, "IS", ["6", "8", "0", "0"]), ScanningSequence="SE"), None),
        (_mr((0x00190010, "LO", "GEMS_ACQU_01"), (0x0019100C, "DS", "1000")), None),
        (_mr(), None),
    ],
)
def test_a_b_value_is_found(header: Dataset, b: float | None) -> None:
    assert b_value(header, 0) == b


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        (_mr(ComplexImageComponent="PHASE"), "phase"),
        (_mr(ImageType=["ORIGINAL", "PRIMARY", "R_SE", "R", "SE"]), "real"),
        (_mr((0x0043102F, "SS", 1)), "phase"),
        (_mr((0x0043102F, "UN", b"\x00\x00")), "magnitude"),
        (_mr((0x20051011, "CS", "I")), "imaginary"),
        (_mr(ImageType=["ORIGINAL", "PRIMARY", "OTHER"]), None),
    ],
)
def test_the_part_of_the_complex_signal_is_found(header: Dataset, shown: str | None) -> None:
    assert component(header, 0) == shown


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["DERIVED", "PRIMARY", "W", "W", "DERIVED"], "water"),
        (["ORIGINAL", "PRIMARY", "DIXON", "OPP_PHASE"], "opposed-phase"),
        (["ORIGINAL", "PRIMARY", "IP", "IP"], "in-phase"),
        (["ORIGINAL", "PRIMARY", "M", "SE"], None),
    ],
)
def test_the_part_of_the_dixon_signal_is_found(words: list[str], shown: str | None) -> None:
    assert fat_water(_mr(ImageType=words), 0) == shown


@pytest.mark.parametrize(
    ("kernel", "sharp"),
    [
        ("H31S", 0), ("HR40", 0), ("J45S\\3", 0), ("H60S", 2), ("BR64", 2), ("STANDARD", 0), ("SOFT", 0),
        ("BONEPLUS", 2), ("LUNG", 2), ("UB", 0), ("D", 2), ("FC26", 0), ("FC30", 2), ("FC68", 0), ("FC81", 2),
        ("QX", 1), (None, 1),
    ],
)  # fmt: skip
def test_soft_and_sharp_kernels_are_told_apart(kernel: str | None, sharp: int) -> None:
    assert sharpness(kernel) == sharp


def test_times_are_ordered_however_they_are_written() -> None:
    written = ["20261128235959.5", "20261129000001", "20261129 000002"[:8] + "00:00:03", "20261129101530.25"]
    known = [seconds(text) for text in written]
    assert None not in known
    assert known == sorted(known, key=lambda moment: moment or 0.0)
    assert seconds("") is None
    assert seconds("noon") is None
