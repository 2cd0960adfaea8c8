"""Where an image lies, as its header tells; whatever the header says, there is an answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sequence import Sequence

from neurotriage.core.placement import Placement
from neurotriage.dicom.placement import placement_of

pytestmark = pytest.mark.unit

AXIAL = [1, 0, 0, 0, 1, 0]


def _slice(z_mm: float, **more: object) -> Dataset:
    dataset = Dataset()
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-100, -100, z_mm], AXIAL
    dataset.Rows, dataset.Columns = 512, 256
    for name, value in more.items():
        setattr(dataset, name, value)
    return dataset


def _frame(z_mm: float) -> Dataset:
    frame, plane = Dataset(), Dataset()
    plane.ImagePositionPatient = [0, 0, z_mm]
    frame.PlanePositionSequence = Sequence([plane])
    return frame


def test_a_slice_has_a_place_along_its_normal_and_a_grid() -> None:
    known = placement_of(_slice(12.346, AcquisitionNumber=2, ImagesInAcquisition=30))
    assert known == Placement("0.00,0.00,1.00 512x256", 12.35, 0.0, 1, 2, 30)


def test_a_position_of_zero_has_no_sign() -> None:
    dataset = _slice(0.0)
    dataset.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]  # whose normal points to the feet
    assert str(placement_of(dataset).position_mm) == "0.0"


def test_a_multiframe_instance_reaches_from_its_lowest_frame_to_its_highest() -> None:
    dataset = _slice(0, NumberOfFrames=100, ImagesInAcquisition=100)
    dataset.PerFrameFunctionalGroupsSequence = Sequence([_frame(200 - 2 * n) for n in range(100)])
    known = placement_of(dataset)
    assert (known.position_mm, known.extent_mm, known.frames, known.images_stated) == (2.0, 198.0, 100, None)
    dataset.InConcatenationTotalNumber = 3
    assert placement_of(dataset).images_stated == 3


@given(
    st.lists(st.one_of(st.floats(), st.text(max_size=4)), max_size=7),
    st.lists(st.floats(), max_size=7),
    st.one_of(st.integers(), st.text(max_size=5)),
)
@settings(max_examples=200, deadline=None)
def test_whatever_a_header_says_there_is_an_answer(
    position: list[object], orientation: list[float], number: object
) -> None:
    dataset = Dataset()
    for name, value in (
        ("ImagePositionPatient", position),
        ("ImageOrientationPatient", orientation),
        ("NumberOfFrames", number),
        ("ImagesInAcquisition", number),
    ):
        try:
            setattr(dataset, name, value)
        except (ValueError, TypeError, OverflowError):
            continue  # pydicom writes no such value
    known = placement_of(dataset)
    assert known.frames >= 1
    assert known.position_mm is None or abs(known.position_mm) < float("inf")
