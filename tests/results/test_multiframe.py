"""Segmentations and parametric maps hold what the model drew, and say why where they cannot."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_voi_lut
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage

from neurotriage.core.values import Outcome, ResultKind
from neurotriage.phantom import (
    INSTALLATION,
    TILTED,
    Made,
    make_analysis,
    make_fused_analysis,
    make_pair,
    make_study,
)
from worker.results import Results, build
from worker.results.objects import multiframe

FRAMES = ResultKind.OVERLAY_FRAMES
SEG, LABELMAP, MAP = ResultKind.SEGMENTATION, ResultKind.LABELMAP, ResultKind.PARAMETRIC_MAP


def results_of(made: Made, *kinds: ResultKind, outcome: Outcome = Outcome.PRESENT) -> Results:
    analysis, evidence = make_analysis(made, outcome)
    return build(analysis, evidence, made.manifest, INSTALLATION, kinds=set(kinds))


def only(made: Made, kind: ResultKind) -> Dataset:
    (result,) = results_of(made, kind).objects
    return dcmread(io.BytesIO(result.data))


@pytest.mark.parametrize("kind", [SEG, LABELMAP])
def test_a_segmentation_is_the_model_s_mask_pixel_by_pixel(kind: ResultKind, mr: Made) -> None:
    _, evidence = make_analysis(mr, Outcome.PRESENT)
    (result,) = results_of(mr, kind).objects
    read = hd.seg.segread(io.BytesIO(result.data))
    assert [s.segment_label for s in (read.get_segment_description(1),)] == ["Suspected tumour (AI)"]
    shown = read.pixel_array.reshape(-1, *mr.masks[0].shape)
    assert np.array_equal(shown, np.stack([item.mask for item in evidence.slices]))
    assert read.ReferencedSeriesSequence[0].SeriesInstanceUID == mr.series_instance_uid
    named = [
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in read.PerFrameFunctionalGroupsSequence
    ]
    assert named == [item.sop_instance_uid for item in evidence.slices]


def test_a_parametric_map_is_the_model_s_relevance_number_by_number(mr: Made) -> None:
    _, evidence = make_analysis(mr, Outcome.PRESENT)
    heat = {item.slice_index: item.heat for item in evidence.slices}
    dataset = only(mr, MAP)
    shown = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(-1, *mr.masks[0].shape)
    assert len(shown) == len(mr.keys)
    for place, frame in enumerate(shown):
        assert np.array_equal(
            frame, heat[place].astype(np.float32) if place in heat else np.zeros_like(frame)
        )
    assert dataset.ContentQualification == "RESEARCH"
    assert "not tumour extent" in dataset.ContentDescription


def test_a_map_s_window_shows_its_levels_and_its_frames_name_their_anatomy(mr: Made) -> None:
    """By LINEAR, the default, a window 1 wide is a step at its centre (PS3.3 C.11.2.1.2.1)."""
    dataset = only(mr, MAP)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    window = shared.FrameVOILUTSequence[0]
    assert (window.WindowCenter, window.WindowWidth, window.VOILUTFunction) == (0.5, 1, "LINEAR_EXACT")
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 8, 0
    assert np.all(np.diff(apply_voi_lut(np.linspace(0, 1, 5), window)) > 0)
    anatomy = shared.FrameAnatomySequence[0]
    assert (anatomy.FrameLaterality, anatomy.AnatomicRegionSequence[0].CodeMeaning) == ("U", "Brain")


@pytest.mark.parametrize("kind", [SEG, LABELMAP, MAP, FRAMES])
def test_each_frame_names_its_stack_and_its_place_in_it(kind: ResultKind, mr: Made) -> None:
    frames = only(mr, kind).PerFrameFunctionalGroupsSequence
    contents = [frame.FrameContentSequence[0] for frame in frames]
    assert {content.StackID for content in contents} == {"1"}
    assert [c.InStackPositionNumber for c in contents] == list(range(1, len(frames) + 1))
    heights = [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames]
    assert heights == sorted(heights)


def test_each_frame_of_a_segmentation_names_its_segment(mr: Made) -> None:
    """Some readers look for it in no other place."""
    dataset = only(mr, SEG)
    named = [
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert set(named) == {1}
    assert "SegmentIdentificationSequence" not in dataset.SharedFunctionalGroupsSequence[0]
    assert "SegmentIdentificationSequence" not in only(mr, LABELMAP).PerFrameFunctionalGroupsSequence[0]


def test_a_binary_segmentation_that_viewers_cannot_read_is_left_out_and_a_label_map_is_not(
    tmp_path: Path,
) -> None:
    made = make_study(tmp_path, shape=(217, 181), slices=9)
    results = results_of(made, SEG, LABELMAP, MAP)
    assert [result.kind for result in results.objects] == [LABELMAP]
    assert {item.kind: item.text for item in results.omissions} == {
        SEG: "217 x 181 pixels are no multiple of 8, and viewers cannot read such a BINARY segmentation; "
        "seg-labelmap has no such limit",
        MAP: "217 x 181 pixels are no multiple of 4, and viewers fail on such a map",
    }


def test_a_map_that_would_be_too_large_is_left_out(mr: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiframe, "MAX_BYTES", 2**20)
    results = results_of(mr, MAP)
    assert not results.objects
    assert results.omissions[0].text == "15 frames of 192 x 192 pixels would be larger than 1 MiB"


@pytest.mark.parametrize("kind", [SEG, LABELMAP, MAP])
def test_without_a_frame_of_reference_nothing_is_laid_over_the_source(
    kind: ResultKind, tmp_path: Path
) -> None:
    made = make_study(tmp_path, slices=9, without=("FrameOfReferenceUID",))
    results = results_of(made, kind)
    assert not results.objects
    assert [item.text for item in results.omissions] == ["the source has no frame of reference"]


def test_where_slices_differ_in_matrix_the_reason_is_told(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=9)
    path = made.manifest.series[0].instances[0].path
    dataset = dcmread(path)
    dataset.Rows, dataset.PixelData = dataset.Rows - 8, dataset.PixelData[: -8 * 2 * dataset.Columns]
    dataset.save_as(path)
    results = results_of(made, SEG)
    assert [item.text for item in results.omissions] == ["the slices of the series differ in their matrix"]


@pytest.mark.parametrize("outcome", Outcome)
def test_a_study_is_marked_only_where_something_was_found(outcome: Outcome, mr: Made) -> None:
    results = results_of(mr, SEG, MAP, outcome=outcome)
    made, left_out = ({item.kind for item in group} for group in (results.objects, results.omissions))
    expected = {Outcome.PRESENT: {SEG, MAP}, Outcome.UNDETERMINED: {MAP}}.get(outcome, set())
    assert (made, left_out) == (expected, {SEG, MAP} - expected)


def test_each_object_has_a_series_of_its_own(tmp_path: Path) -> None:
    ct, mr = make_pair(tmp_path, slices=9, shape=(64, 64))
    analysis, evidence = make_fused_analysis(ct, mr, Outcome.PRESENT)
    kinds: Any = {SEG, LABELMAP, MAP, FRAMES}
    objects = build(analysis, evidence, ct.manifest, INSTALLATION, kinds=kinds).objects
    assert len({result.series_instance_uid for result in objects}) == len(objects) == 8


@pytest.mark.parametrize(
    ("kind", "frames"),
    [
        (ResultKind.OVERLAY, FRAMES),
        (ResultKind.OVERLAY_SERIES, ResultKind.OVERLAY_SERIES_FRAMES),
    ],
)
def test_overlays_as_frames_are_the_same_pictures_in_the_same_places(
    kind: ResultKind, frames: ResultKind, tmp_path: Path
) -> None:
    made = make_study(tmp_path, slices=9, orientation=TILTED, shape=(200, 150))
    singles = [dcmread(io.BytesIO(result.data)) for result in results_of(made, kind).objects]
    together = only(made, frames)
    assert together.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage
    assert np.array_equal(together.pixel_array, np.stack([single.pixel_array for single in singles]))
    shared = together.SharedFunctionalGroupsSequence[0]
    for single, frame in zip(singles, together.PerFrameFunctionalGroupsSequence, strict=True):
        assert frame.PlanePositionSequence[0].ImagePositionPatient == single.ImagePositionPatient
        assert shared.PixelMeasuresSequence[0].PixelSpacing == single.PixelSpacing
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        assert orientation == single.ImageOrientationPatient
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        (same,) = single.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == same.ReferencedSOPInstanceUID
        assert together.FrameOfReferenceUID == single.FrameOfReferenceUID
        assert together.PatientOrientation == single.PatientOrientation


def test_overlays_as_frames_are_valid_and_identify_nobody(
    mr: Made, errors_of: Callable[[bytes], list[str]]
) -> None:
    (result,) = results_of(mr, FRAMES).objects
    assert errors_of(result.data) == []
    assert dcmread(io.BytesIO(result.data)).BurnedInAnnotation == "NO"


def test_frames_that_would_be_too_large_for_one_object_are_left_out(
    mr: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiframe, "MAX_BYTES", 2**20)
    results = results_of(mr, FRAMES)
    assert not results.objects
    assert results.omissions[0].text.endswith("frames of 838 x 668 pixels would be larger than 1 MiB")
