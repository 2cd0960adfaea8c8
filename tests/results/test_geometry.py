"""Outline, heat map and mask land on a lesion that was put in at a known place, read as a viewer reads them.

Each object is read back alone: its own attributes say where its pixels or points lie in the patient. Where an
object names a source image instead of a place, that image's attributes do.
"""

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from neurotriage.core.values import Outcome, ResultKind, ResultObject
from neurotriage.phantom import (
    AXIAL,
    CORONAL,
    FLIPPED,
    INSTALLATION,
    LESION_CENTRE_MM,
    OBLIQUE,
    SAGITTAL,
    TILTED,
    Made,
    make_analysis,
    make_pair,
    make_study,
)
from neurotriage.phantom.study import LESION_RADIUS_MM
from worker.results import build

Vector = NDArray[np.float64]
TOLERANCE_MM = 2.0
SERIES: dict[str, dict[str, Any]] = {
    "axial": {"orientation": AXIAL},
    "sagittal": {"orientation": SAGITTAL},
    "coronal": {"orientation": CORONAL},
    "oblique": {"orientation": OBLIQUE},
    "flipped": {"orientation": FLIPPED},
    "gantry_tilt": {"orientation": TILTED, "modality": "CT", "shear": True},
    "anisotropic": {"shape": (256, 128)},
    "217x181": {"shape": (217, 181)},
    "512x484": {"shape": (512, 484), "slices": 7},
    "1024x1024": {"shape": (1024, 1024), "slices": 5},
    "enhanced": {"enhanced": True, "orientation": CORONAL},
}
KINDS = {
    ResultKind.OVERLAY,
    ResultKind.OVERLAY_FRAMES,
    ResultKind.REPORT,
    ResultKind.SEGMENTATION,
    ResultKind.LABELMAP,
    ResultKind.PARAMETRIC_MAP,
    ResultKind.PRESENTATION_STATE,
}


@pytest.mark.parametrize("name", SERIES)
def test_everything_that_marks_a_lesion_lies_on_it(name: str, tmp_path: Path) -> None:
    made = make_study(tmp_path, **{"slices": 13, **SERIES[name]})
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    results = build(analysis, evidence, made.manifest, INSTALLATION, kinds=KINDS)
    kinds = {result.kind for result in results.objects}
    assert kinds == KINDS - {omission.kind for omission in results.omissions}
    if name == "217x181":
        assert {omission.kind for omission in results.omissions} == {
            ResultKind.SEGMENTATION,
            ResultKind.PARAMETRIC_MAP,
        }
    else:
        assert not results.omissions
    sources, marks = _sources(tmp_path), Counter[ResultKind]()
    for result in results.objects:
        for middle_mm, normal in _MARKS[result.kind](result, sources):
            _assert_on_the_lesion(middle_mm, normal, result.kind)
            marks[result.kind] += 1
    assert marks == dict.fromkeys(kinds, len(evidence.slices))


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_in_a_pair_each_modality_is_marked_in_the_common_frame_of_reference(
    modality: str, tmp_path: Path
) -> None:
    ct, mr = make_pair(tmp_path, slices=13)
    made = {"CT": ct, "MR": mr}[modality]
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    results = build(analysis, evidence, made.manifest, INSTALLATION, kinds=KINDS)
    sources = _sources(tmp_path)
    (frame,) = {str(dataset.FrameOfReferenceUID) for dataset in sources.values()}
    for result in results.objects:
        dataset = dcmread(io.BytesIO(result.data))
        assert dataset.get("FrameOfReferenceUID", frame) == frame
        for middle_mm, normal in _MARKS[result.kind](result, sources):
            _assert_on_the_lesion(middle_mm, normal, result.kind)


def test_the_frames_of_a_parametric_map_run_along_the_normal_and_name_their_slices(tmp_path: Path) -> None:
    for name in ("axial", "sagittal", "flipped", "enhanced"):
        made = make_study(tmp_path / name, **{"slices": 13, **SERIES[name]})
        dataset = dcmread(io.BytesIO(_only(made, ResultKind.PARAMETRIC_MAP).data))
        places = [_place(frame) for frame in dataset.PerFrameFunctionalGroupsSequence]
        row, column = _axes(dataset)
        along = [float(np.cross(row, column) @ place) for place in places]
        assert along == sorted(along)
        assert len(along) == 13
        named = [
            (item.ReferencedSOPInstanceUID, item.get("ReferencedFrameNumber"))
            for frame in dataset.PerFrameFunctionalGroupsSequence
            for item in frame.DerivationImageSequence[0].SourceImageSequence
        ]
        assert named == list(made.keys)


def test_a_mark_in_the_wrong_place_would_be_seen() -> None:
    beside = LESION_CENTRE_MM + np.array([3.0, 0, 0])
    with pytest.raises(AssertionError):
        _assert_on_the_lesion(beside, np.array([0.0, 0, 1]), ResultKind.REPORT)
    outside = LESION_CENTRE_MM + np.array([0, 0, LESION_RADIUS_MM + 3])
    with pytest.raises(AssertionError):
        _assert_on_the_lesion(outside, np.array([0.0, 0, 1]), ResultKind.REPORT)


def _assert_on_the_lesion(middle_mm: Vector, normal: Vector, kind: ResultKind) -> None:
    """The middle of a mark is the lesion's centre in the plane, and its plane cuts the lesion."""
    away = LESION_CENTRE_MM - middle_mm
    through = float(normal @ away)
    assert np.linalg.norm(away - through * normal) < TOLERANCE_MM, kind
    assert abs(through) < LESION_RADIUS_MM, kind


def _only(made: Made, kind: ResultKind) -> ResultObject:
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    (result,) = build(analysis, evidence, made.manifest, INSTALLATION, kinds={kind}).objects
    return result


Marks = Iterator[tuple[Vector, Vector]]  # the middle of each mark and the normal of its plane


def _overlay(result: ResultObject, sources: dict[str, Dataset]) -> Marks:
    dataset = dcmread(io.BytesIO(result.data))
    coloured = _coloured(dataset.pixel_array)
    if coloured.any():
        yield _middle(coloured, dataset, dataset, _spacing(dataset))


def _overlay_frames(result: ResultObject, sources: dict[str, Dataset]) -> Marks:
    dataset = dcmread(io.BytesIO(result.data))
    shared = dataset.SharedFunctionalGroupsSequence[0]
    spacing = _spacing(shared.PixelMeasuresSequence[0])
    for shown, frame in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        coloured = _coloured(shown)
        if coloured.any():
            plane = frame.PlanePositionSequence[0]
            yield _middle(coloured, plane, shared.PlaneOrientationSequence[0], spacing)


def _coloured(shown: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a picture is not grey, but for the lines of text."""
    coloured = np.ptp(shown.astype(int), axis=2) > 20
    text_rows = round(0.14 * len(coloured))
    coloured[:text_rows] = coloured[-text_rows:] = False
    return np.asarray(coloured)


def _frames(result: ResultObject, sources: dict[str, Dataset]) -> Marks:
    dataset = dcmread(io.BytesIO(result.data))
    if "FloatPixelData" in dataset:
        shape = (int(dataset.NumberOfFrames), dataset.Rows, dataset.Columns)
        pixels = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(shape)
    else:
        pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
        read = hd.seg.segread(io.BytesIO(result.data))
        assert np.array_equal(read.pixel_array.reshape(pixels.shape), pixels)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    spacing = _spacing(shared.PixelMeasuresSequence[0])
    for shown, frame in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        if shown.max() > 0:
            plane = frame.PlanePositionSequence[0]
            yield _middle(shown > 0.5, plane, shared.PlaneOrientationSequence[0], spacing)


def _report(result: ResultObject, sources: dict[str, Dataset]) -> Marks:
    for group in hd.sr.srread(io.BytesIO(result.data)).content.get_planar_roi_measurement_groups():
        (image,) = group.roi.ContentSequence[0].ReferencedSOPSequence
        yield _outlined(group.roi.value, image, sources)


def _presentation_state(result: ResultObject, sources: dict[str, Dataset]) -> Marks:
    dataset = dcmread(io.BytesIO(result.data))
    for annotation in dataset.GraphicAnnotationSequence:
        for graphic in annotation.GraphicObjectSequence:
            line = np.array(graphic.GraphicData, float).reshape(-1, 2)
            yield _outlined(line, annotation.ReferencedImageSequence[0], sources)


_MARKS = {
    ResultKind.OVERLAY: _overlay,
    ResultKind.OVERLAY_FRAMES: _overlay_frames,
    ResultKind.REPORT: _report,
    ResultKind.SEGMENTATION: _frames,
    ResultKind.LABELMAP: _frames,
    ResultKind.PARAMETRIC_MAP: _frames,
    ResultKind.PRESENTATION_STATE: _presentation_state,
}


def _outlined(line: Vector, image: Dataset, sources: dict[str, Dataset]) -> tuple[Vector, Vector]:
    """The middle of an outline on a source image; points count from the corner of the first pixel."""
    source = sources[image.ReferencedSOPInstanceUID]
    position, orientation, spacing = source, source, source
    if "ReferencedFrameNumber" in image:
        shared = source.SharedFunctionalGroupsSequence[0]
        own = source.PerFrameFunctionalGroupsSequence[int(image.ReferencedFrameNumber) - 1]
        position, orientation = own.PlanePositionSequence[0], shared.PlaneOrientationSequence[0]
        spacing = shared.PixelMeasuresSequence[0]
    column, row = (line.min(axis=0) + line.max(axis=0)) / 2 - 0.5
    return _patient(column, row, position, orientation, _spacing(spacing))


def _middle(
    marked: NDArray[np.bool_], position: Dataset, orientation: Dataset, spacing: Vector
) -> tuple[Vector, Vector]:
    rows, columns = np.nonzero(marked)
    return _patient(columns.mean(), rows.mean(), position, orientation, spacing)


def _patient(
    column: float, row: float, position: Dataset, orientation: Dataset, spacing: Vector
) -> tuple[Vector, Vector]:
    """A pixel in patient mm and the normal of its plane (PS3.3 C.7.6.2.1.1)."""
    axes = np.array(orientation.ImageOrientationPatient, float).reshape(2, 3)
    origin = np.array(position.ImagePositionPatient, float)
    place = origin + axes[0] * spacing[1] * column + axes[1] * spacing[0] * row
    return place, np.cross(axes[0], axes[1])


def _spacing(dataset: Dataset) -> Vector:
    return np.array(dataset.PixelSpacing, float)


def _axes(dataset: Dataset) -> tuple[Vector, Vector]:
    plane = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    axes = np.array(plane.ImageOrientationPatient, float)
    return axes[:3], axes[3:]


def _place(frame: Dataset) -> Vector:
    return np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)


def _sources(folder: Path) -> dict[str, Dataset]:
    read = (dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm"))
    return {str(dataset.SOPInstanceUID): dataset for dataset in read}
