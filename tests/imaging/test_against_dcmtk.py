"""Pixel values of public files are those of another decoder; no file ends in anything but pixels or a reason.

``decoded.tsv`` has a row per file of pydicom's test files and of the wheel ``pydicom-data``: the reference
(``dcmtk``; ``openjpeg`` for JPEG 2000, which DCMTK 3.6 does not decode; or a file of the same picture that
was never compressed), what is expected (``equal``, or the code of the refusal), and a note where decoders
differ.
"""

import csv
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from neurotriage.core.errors import Refused
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.attributes import whole_number
from tests.imaging.reference import by_dcmtk, by_openjpeg, public_files
from worker.imaging import open_pixels

with (Path(__file__).parent / "decoded.tsv").open() as file:
    ROWS: Final = tuple(csv.DictReader(file, delimiter="\t"))


@cache
def _files() -> dict[str, Path]:
    return dict(public_files())


def _got(path: Path) -> NDArray[np.integer] | ReasonCode:
    """All frames as stored (frames, rows, columns), or why they are refused."""
    try:
        opened = open_pixels(path)
        return np.stack([opened.stored(number + 1) for number in range(opened.frames)])
    except Refused as refused:
        return refused.reason.code


def _of_bits_stored(path: Path, cells: NDArray[np.integer]) -> NDArray[np.integer]:
    """Cells without the bits above the highest stored one, which is the sign (PS3.5 8.1.1)."""
    dataset = open_pixels(path).dataset
    shift = cells.dtype.itemsize * 8 - (whole_number(dataset, "HighBit") or 0) - 1
    return (cells << shift) >> shift


def _reference(name: str, path: Path, folder: Path) -> NDArray[np.integer] | None:
    if name == "openjpeg":
        return by_openjpeg(path)
    if name == "dcmtk, bits stored":
        cells = by_dcmtk(path, folder)
        return None if cells is None else _of_bits_stored(path, cells)
    return by_dcmtk(path if name == "dcmtk" else _files()[name], folder)


@pytest.mark.usefixtures("dcmtk")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_a_public_file_ends_as_its_row_says(tmp_path: Path, row: dict[str, str]) -> None:
    path = _files()[row["file"]]
    got = _got(path)
    if row["expected"] != "equal":
        assert got == row["expected"]
        return
    assert isinstance(got, np.ndarray), got
    expected = _reference(row["reference"], path, tmp_path)
    assert expected is not None
    np.testing.assert_array_equal(got, expected)


def test_the_table_has_a_row_for_every_file() -> None:
    assert [row["file"] for row in ROWS] == list(_files())


def test_dcmtk_is_the_reference_wherever_it_decodes() -> None:
    """Another one is named for JPEG 2000 and where a note says why."""
    others = [row for row in ROWS if row["expected"] == "equal" and row["reference"] != "dcmtk"]
    for row in others:
        assert row["note"] or _is_jpeg_2000(_files()[row["file"]]), row["file"]
    assert sum(row["reference"] == "dcmtk" for row in ROWS) > 70


def _is_jpeg_2000(path: Path) -> bool:
    return open_pixels(path).syntax.startswith("1.2.840.10008.1.2.4.9")
