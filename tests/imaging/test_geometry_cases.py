"""Every odd geometry of a series ends at its true place, or is refused with the reason: a table of cases.

Each case is drawn by ``neurotriage.phantom``, whose lesion is known in the patient: whatever slices are
analysed, the lesion's voxels must lie there.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence as Items

from neurotriage.core.values import ReasonCode
from neurotriage.core.volume import Volume
from neurotriage.dicom.manifest import scan_folder
from neurotriage.phantom import LESION_CENTRE_MM, SAGITTAL, make_study
from tests.eligibility.rule import RULE
from worker.imaging import BuiltVolume, LeftOutImage, build_stack
from worker.reading import left_out_by_reason
from worker.selection import choose

pytestmark = pytest.mark.unit

TILT = (1.0, 0.0, 0.0, 0.0, float(np.cos(np.deg2rad(15))), float(-np.sin(np.deg2rad(15))))
LESION_RADIUS_MM, LESION_VALUE = 16.0, 735  # of the phantom; brighter than its skull
PLACES = tuple(5.0 * n - 65 for n in range(27))
SIZE = (96, 96)
Edit = Callable[[list[Dataset]], list[Dataset]]


def _number(datasets: Sequence[Dataset], **changes: Any) -> list[Dataset]:
    """The same pictures as other instances, with other values."""
    twins = []
    for dataset in datasets:
        twin = dcmread(dataset.filename)
        twin.SOPInstanceUID += f".{len(changes)}"
        for name, value in changes.items():
            setattr(twin, name, value)
        twins.append(twin)
    return twins


def _set(which: slice, **changes: Any) -> Edit:
    def edit(datasets: list[Dataset]) -> list[Dataset]:
        for dataset in datasets[which]:
            for name, value in changes.items():
                setattr(dataset, name, value)
        return datasets

    return edit


def _without(*places: int) -> Edit:
    return lambda datasets: [d for place, d in enumerate(datasets) if place not in places]


def _beside(**changes: Any) -> Edit:
    """A second image at each place, with noise in it, so that a mixture would be seen."""

    def edit(datasets: list[Dataset]) -> list[Dataset]:
        twins = _number(datasets, **changes)
        for twin in twins:
            twin.PixelData = np.random.default_rng(1).integers(0, 600, SIZE).astype("<i2").tobytes()
        return [*datasets, *twins]

    return edit


def _shuffled(datasets: list[Dataset]) -> list[Dataset]:
    numbers = np.random.default_rng(3).permutation(len(datasets)) + 1
    for dataset, number in zip(datasets, numbers, strict=True):
        dataset.InstanceNumber = int(number)
    return datasets


def _one_uid(datasets: list[Dataset]) -> list[Dataset]:
    for dataset in datasets[9:12]:
        dataset.SOPInstanceUID = datasets[8].SOPInstanceUID
    return datasets


def _echoes(datasets: list[Dataset]) -> list[Dataset]:
    for dataset in datasets:
        dataset.EchoTime, dataset.RepetitionTime, dataset.EchoNumbers = 100.0, 3000.0, 2
    return _beside(EchoTime=15.0, EchoNumbers=1)(datasets)


def _no_place(datasets: list[Dataset]) -> list[Dataset]:
    del datasets[3].ImagePositionPatient
    return datasets


@dataclass(frozen=True)
class Case:
    name: str
    edit: Edit
    stacks: tuple[int, ...]  # slices of each stack that is analysed
    left_out: dict[ReasonCode, str] = field(default_factory=dict)  # a part of the sentence by code
    missing: str = ""
    study: dict[str, Any] = field(default_factory=dict)


WHOLE = len(PLACES)
CASES = (
    Case("even", lambda d: d, (WHOLE,)),
    Case("one missing", _without(9), (WHOLE - 1,), missing="1 of 27 slices is missing from the stack"),
    Case("block missing", _without(8, 9, 10, 11), (WHOLE - 4,), missing="4 of 27 slices are missing"),
    Case("ends missing", _without(0, 1, 25, 26), (WHOLE - 4,)),
    Case(
        "doubled", lambda d: [*d, *_number(d[5:8], StudyID="2")], (WHOLE,),
        {ReasonCode.SAME_PLACE: "a copy: the position (0020,0032) and the pixels of another image"},
    ),
    Case(
        "one UID for four pictures", _one_uid, (WHOLE - 3,),
        {ReasonCode.SAME_UID: "(0008,0018) SOPInstanceUID is that of another file"},
    ),
    Case("overlapping", lambda d: d, (53,), study={"offsets_mm": np.arange(53) * 2.5 - 65}),
    Case(
        "uneven", lambda d: d, (14,),
        study={"offsets_mm": (-60, -54, -46, -41, -30, -22, -19, -9, 0, 4, 15, 21, 30, 44)},
    ),
    Case("gantry tilt", lambda d: d, (15,), study={"orientation": TILT, "shear": True, "offsets_mm": None}),
    Case("CT with gantry tilt", lambda d: d, (15,),
         study={"modality": "CT", "orientation": TILT, "shear": True, "offsets_mm": None}),
    Case("two tilts", _set(slice(0, 9), ImageOrientationPatient=list(TILT)), (WHOLE - 9, 9)),
    Case(
        "a few turned", _set(slice(0, 3), ImageOrientationPatient=list(TILT)), (WHOLE - 3,),
        {ReasonCode.INCONSISTENT_GEOMETRY: "slices turned by 15 degrees, and too few"},
    ),
    Case(
        "a scout of another orientation", _set(slice(26, 27), ImageOrientationPatient=list(SAGITTAL)),
        (WHOLE - 1,), {ReasonCode.LOCALIZER: "a localizer by its orientation"},
    ),
    Case("two echoes", _echoes, (WHOLE,), {ReasonCode.OTHER_KIND: "echo time 15 ms"}),
    Case(
        "phase beside magnitude", _beside(ImageType=["ORIGINAL", "PRIMARY", "P"]), (WHOLE,),
        {ReasonCode.OTHER_KIND: "phase images"},
    ),
    Case(
        "two acquisitions", lambda d: _set(slice(0, WHOLE), AcquisitionNumber=2)(
            _beside(AcquisitionNumber=1)(d)), (WHOLE,), {ReasonCode.OTHER_KIND: "acquisition 1"},
    ),
    Case(
        "without a position", _no_place, (WHOLE - 1,),
        {ReasonCode.NO_GEOMETRY: "(0020,0032) ImagePositionPatient is absent"},
    ),
    Case(
        "wrong Rows", _set(slice(4, 5), Rows=64), (WHOLE - 1,),
        {ReasonCode.INCONSISTENT_GEOMETRY: "another matrix, 64 (0028,0010) Rows x 96 (0028,0011) Columns"},
    ),
    Case("numbers against positions", _shuffled, (WHOLE,)),
    Case("numbers the other way round", lambda d: _renumbered(d[::-1]), (WHOLE,)),
    Case("no numbers", _set(slice(0, WHOLE), InstanceNumber=None), (WHOLE,)),
)  # fmt: skip


def _renumbered(datasets: list[Dataset]) -> list[Dataset]:
    for number, dataset in enumerate(datasets, start=1):
        dataset.InstanceNumber = number
    return datasets


def _drawn(folder: Path, edit: Edit, **study: Any) -> Path:
    """The folder of a drawn study, edited."""
    make_study(folder / "drawn", **{"shape": SIZE, "offsets_mm": PLACES, **study})
    datasets = sorted(
        (dcmread(path) for path in (folder / "drawn").iterdir()), key=lambda dataset: dataset.InstanceNumber
    )
    edited = edit(datasets)
    (folder / "edited").mkdir()
    for number, dataset in enumerate(edited):
        dataset.save_as(folder / "edited" / f"{number:03d}.dcm")
    shutil.rmtree(folder / "drawn")
    return folder / "edited"


def _read(folder: Path) -> tuple[list[BuiltVolume], list[LeftOutImage]]:
    (study,) = scan_folder(folder).studies
    choice = choose(study, RULE)
    assert [verdict.taken for verdict in choice.verdicts] == [True]
    (series,) = choice.taken
    built = [build_stack(series.plan, n, series.images) for n in range(len(series.plan.stacks))]
    return built, [*series.plan.left_out, *(item for stack in built for item in stack.left_out)]


def _from_lesion_mm(volume: Volume) -> np.ndarray[Any, Any]:
    """Distances of the lesion's voxels from its true centre."""
    if volume.modality == "CT":  # brighter than the brain, and far from the skull
        bright = (np.asarray(volume.voxels) > 52) & (np.asarray(volume.voxels) < 70)
    else:
        bright = np.asarray(volume.voxels) > LESION_VALUE
    places = [volume.to_patient_mm(x, y, z) for z, y, x in np.argwhere(bright)]
    return np.linalg.norm(np.array(places) - LESION_CENTRE_MM, axis=1)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_of_geometry_ends_at_its_true_place_or_with_its_reason(tmp_path: Path, case: Case) -> None:
    built, left_out = _read(_drawn(tmp_path, case.edit, **case.study))
    assert tuple(len(stack.images) for stack in built) == case.stacks
    by_code = {item.reason.code: item.reason.text for item in left_out}
    assert set(by_code) == set(case.left_out)
    for code, part in case.left_out.items():
        assert part in by_code[code]
    assert (built[0].missing.text if built[0].missing else "").startswith(case.missing)
    assert bool(built[0].missing) == bool(case.missing)
    for stack in built:
        offsets = stack.volume.positions_mm @ np.cross(
            stack.volume.row_direction, stack.volume.column_direction
        )
        assert (np.diff(offsets) > 0).all()
    if case.name in ("two tilts", "a few turned"):
        return  # slices were turned after they had been drawn
    distances_mm = _from_lesion_mm(built[0].volume)
    share = (distances_mm <= LESION_RADIUS_MM + 0.1).mean()
    assert share > 0.995, share  # noise of the skull may be as bright
    assert len(distances_mm) > 300


def test_a_multi_frame_object_of_two_stacks_is_two_stacks_at_their_places(tmp_path: Path) -> None:
    make_study(tmp_path, enhanced=True, shape=SIZE, offsets_mm=PLACES)
    (path,) = tmp_path.iterdir()
    dataset = dcmread(path)
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        content, plane = Dataset(), Dataset()
        content.StackID, content.InStackPositionNumber = "1" if number < 13 else "2", 99 - number
        plane.ImageOrientationPatient = list(TILT) if number >= 13 else [1, 0, 0, 0, 1, 0]
        frame.FrameContentSequence, frame.PlaneOrientationSequence = Items([content]), Items([plane])
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    dataset.save_as(path)
    built, left_out = _read(tmp_path)
    assert [[image.place.frame for image in stack.images] for stack in built] == [
        list(range(14, 28)), list(range(1, 14)),
    ]  # fmt: skip
    assert not left_out


@pytest.mark.parametrize("how", ["copies", "no position", "damaged"])
def test_causes_are_counted_apart(tmp_path: Path, how: str) -> None:
    """A reason of one cause never stands for images of another."""

    def edit(datasets: list[Dataset]) -> list[Dataset]:
        copies = _number(datasets[5:8], StudyID="2")
        different = _number(datasets[10:12], StudyID="2")
        for twin in different:
            twin.PixelData = bytes(len(twin.PixelData))
        if how == "no position":
            del datasets[3].ImagePositionPatient
            datasets[4].ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
        if how == "damaged":
            datasets[3].PixelData, datasets[4].BitsAllocated = bytes(100), 12
        return [*datasets, *copies, *different]

    _, left_out = _read(_drawn(tmp_path, edit))
    counts = Counter({item.reason.text: item.count for item in left_out_by_reason("", left_out)})
    assert counts["a copy: the position (0020,0032) and the pixels of another image"] == 3
    assert len(counts) == (2 if how == "copies" else 4)
