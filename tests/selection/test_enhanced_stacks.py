"""The frames of an Enhanced object make stacks by their own position, orientation and time."""

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from neurotriage.core.values import ReasonCode
from tests.imaging.made import AXIAL, SAGITTAL, enhanced_of, picture
from tests.selection.series import left_out, read_series

pytestmark = pytest.mark.unit


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, Items([value]) if isinstance(value, Dataset) else value)
    return item


def test_an_enhanced_object_of_two_stacks_over_time_is_placed_by_position(tmp_path: Path) -> None:
    """In-Stack Position runs against the order of the frames, orientation is each frame's own."""
    frames, pictures = [], []
    for stack, orientation in (("1", AXIAL), ("2", SAGITTAL)):
        for time in (1, 2):
            for place in range(6):
                mm = [-50.0, -50.0, 6.0 * place] if stack == "1" else [6.0 * place, -50.0, 50.0]
                frames.append(
                    _item(
                        PlanePositionSequence=_item(ImagePositionPatient=mm),
                        PlaneOrientationSequence=_item(ImageOrientationPatient=list(orientation)),
                        FrameContentSequence=_item(
                            StackID=stack, InStackPositionNumber=6 - place, TemporalPositionIndex=time
                        ),
                    )
                )
                pictures.append(picture(seed=len(pictures)))
    dataset = enhanced_of(pictures, [[0.0, 0.0, 0.0]] * len(pictures))
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    read = read_series(tmp_path, [dataset])
    assert [len(stack) for stack in read.plan.stacks] == [6, 6]
    numbers = {tuple(image.place.frame for image in stack) for stack in read.plan.stacks}
    assert numbers == {tuple(range(7, 13)), tuple(range(24, 18, -1))}
    assert left_out(read) == {ReasonCode.OTHER_KIND: 12}


@pytest.mark.parametrize(
    "stated",
    [
        lambda time: {"TemporalPositionSequence": _item(TemporalPositionTimeOffset=60.0 * time)},
        lambda time: {"FrameContentSequence": _item(FrameReferenceDateTime=f"2026112812{time:02d}00")},
    ],
    ids=["offset", "reference time"],
)
def test_times_of_an_enhanced_object_are_told_by_whatever_states_them(tmp_path: Path, stated: Any) -> None:
    places = [[-50.0, -50.0, 6.0 * place] for place in range(6)] * 2
    dataset = enhanced_of([picture(seed=n) for n in range(12)], places)
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        for name, value in stated(1 + number // 6).items():
            setattr(group, name, Items([value]))
    read = read_series(tmp_path, [dataset])
    assert [[image.place.frame for image in stack] for stack in read.plan.stacks] == [[7, 8, 9, 10, 11, 12]]
    assert left_out(read) == {ReasonCode.OTHER_KIND: 6}


def test_a_frame_without_a_position_costs_itself(tmp_path: Path) -> None:
    dataset = enhanced_of([picture(seed=n) for n in range(12)], [[-50.0, -50.0, 6.0 * n] for n in range(12)])
    del dataset.PerFrameFunctionalGroupsSequence[11].PlanePositionSequence
    read = read_series(tmp_path, [dataset])
    assert [[image.place.frame for image in stack] for stack in read.plan.stacks] == [list(range(1, 12))]
    assert left_out(read) == {ReasonCode.NO_GEOMETRY: 1}
    assert not any(item.alien for item in read.plan.left_out)  # it may show anything: never absent
