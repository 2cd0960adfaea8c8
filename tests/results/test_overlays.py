"""An overlay has true geometry, marks on the lesion, and words beside the anatomy."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from neurotriage.core.values import (
    Outcome,
    OverlayStyle,
    ResultKind,
)
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
    make_study,
)
from worker.results import build
from worker.results.pictures import picture
from worker.results.pictures.overlay import layout_of
from worker.results.sources.scene import read_scene


@pytest.mark.parametrize(
    "study",
    [
        {"orientation": AXIAL},
        {"orientation": SAGITTAL},
        {"orientation": CORONAL},
        {"orientation": FLIPPED},
        {"orientation": OBLIQUE},
        {"orientation": TILTED, "modality": "CT"},
        {"shape": (217, 181)},
        {"shape": (256, 128)},
        {"shape": (512, 484), "slices": 7},
        {"shape": (1024, 1024), "slices": 3},
        {"enhanced": True, "orientation": CORONAL},
    ],
    ids=lambda study: "-".join(str(value) for value in study.values()),
)
def test_heat_map_and_outline_lie_on_the_lesion(study: dict[str, Any], tmp_path: Path) -> None:
    made = make_study(tmp_path, **{"slices": 13, **study})
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    results = build(analysis, evidence, made.manifest, INSTALLATION).objects
    marked = 0
    for result in (r for r in results if r.kind is ResultKind.OVERLAY):
        overlay = dcmread(io.BytesIO(result.data))
        coloured = heat_pixels(overlay.pixel_array)
        if coloured.any():
            marked += 1
            assert distance_in_plane_mm(overlay, coloured) < 2
    assert marked == len(evidence.slices) > 0


def heat_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels in colour, without the rows that hold text."""
    coloured = np.ptp(pixels.astype(int), axis=2) > 20
    text_rows = round(0.14 * len(coloured))
    coloured[:text_rows] = coloured[-text_rows:] = False
    return np.asarray(coloured)


def distance_in_plane_mm(overlay: Dataset, coloured: NDArray[np.bool_]) -> float:
    """From the middle of the coloured pixels to the lesion's centre, by the overlay's own geometry."""
    axes = np.array(overlay.ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = np.nonzero(coloured)
    spacing = np.array(overlay.PixelSpacing, float)
    middle = np.array(overlay.ImagePositionPatient, float)
    middle = middle + axes[0] * spacing[1] * columns.mean() + axes[1] * spacing[0] * rows.mean()
    return float(np.linalg.norm(axes @ (LESION_CENTRE_MM - middle)))


def overlays_of(
    made: Made, style: OverlayStyle = OverlayStyle.HEAT, outcome: Outcome = Outcome.PRESENT
) -> list[Dataset]:
    analysis, evidence = make_analysis(made, outcome)
    kinds = {ResultKind.OVERLAY}
    results = build(analysis, evidence, made.manifest, INSTALLATION, kinds=kinds, overlay=style)
    return [dcmread(io.BytesIO(result.data)) for result in results.objects]


@pytest.mark.parametrize("shape", [(192, 192), (256, 128), (512, 484)])
def test_nothing_is_written_over_the_anatomy(shape: tuple[int, int], tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=13, shape=shape)
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    scene = read_scene(analysis, evidence, made.manifest)
    unmarked = 0
    for dataset in overlays_of(made):
        uid = dataset.SourceImageSequence[0].ReferencedSOPInstanceUID
        image = scene.find(uid, None)
        assert image is not None
        layout, pixels = layout_of(image), scene.pixels(image)
        assert pixels is not None
        if image.key in scene.evidence:
            continue
        unmarked += 1
        shown = dataset.pixel_array[layout.above_px :, layout.side_px :][: layout.rows, : layout.columns]
        grey = picture.grey(pixels, scene.window(image))
        np.testing.assert_array_equal(shown, picture.resized(grey, layout.rows, layout.columns))
    assert unmarked == 2


def test_an_overlay_says_directions_series_slice_and_what_its_colours_mean(mr: Made, written: Any) -> None:
    overlays_of(mr)
    lines = [line for line, _, _ in written]
    for words in (
        "TUMOUR SUSPECTED", "MR · Series 3 · AX FLAIR", "Slice 10 of 15 (image 10) · 97 %",
        "Lesion 1: left, 31 mm", "Slice 7 of 15 (image 7) · nothing marked", "R", "L", "A", "P",
        "0 %", "100 %", "model relevance, not tumour extent", "RESEARCH USE ONLY - NOT FOR DIAGNOSIS",
    ):  # fmt: skip
        assert words in lines


def test_words_of_an_overlay_stay_on_it_and_keep_apart(tmp_path: Path, written: Any) -> None:
    for shape in ((192, 192), (256, 128), (128, 256)):
        header = {"SeriesDescription": "a long description of a series " * 2}
        made = make_study(tmp_path / str(shape), slices=9, shape=shape, header=header)
        written.clear()
        shown = overlays_of(made)[0]
        rows, columns = shown.Rows, shown.Columns
        for words, _, (left, top, right, bottom) in written:
            assert 0 <= left <= right <= columns, words
            assert 0 <= top <= bottom <= rows, words
        last = [line for line, _, _ in written].index("RESEARCH USE ONLY - NOT FOR DIAGNOSIS")
        boxes = [box for _, _, box in written[: last + 1] if box[2] > box[0]]
        for place, (left, top, right, bottom) in enumerate(boxes):
            for other in boxes[place + 1 :]:
                apart = right <= other[0] or other[2] <= left or bottom <= other[1] + 1 or other[3] <= top + 1
                assert apart


def test_an_overlay_may_show_the_outline_alone(mr: Made) -> None:
    usual, plain = overlays_of(mr), overlays_of(mr, OverlayStyle.OUTLINE)
    assert len(usual) == len(plain)
    for dataset in plain:
        assert not heat_pixels(dataset.pixel_array).any()
        assert "Grad-CAM" not in dataset.DerivationDescription
    assert any((dataset.pixel_array == 255).all(axis=2).any() for dataset in plain)
    assert not {d.SOPInstanceUID for d in usual} & {d.SOPInstanceUID for d in plain}


def test_an_overlay_of_outlines_says_where_there_is_none(mr: Made, written: Any) -> None:
    overlays_of(mr, OverlayStyle.OUTLINE, Outcome.UNDETERMINED)
    assert "Slice 10 of 15 (image 10) · 51 %, no outline" in [line for line, _, _ in written]


def test_an_overlay_may_show_the_slice_without_marks_beside_it_and_then_claims_no_place(mr: Made) -> None:
    for single, both in zip(overlays_of(mr), overlays_of(mr, OverlayStyle.BOTH), strict=True):
        assert (both.Rows, both.Columns) == (single.Rows, 2 * single.Columns)
        assert "ImagePositionPatient" in single
        assert not {"ImagePositionPatient", "PixelSpacing", "FrameOfReferenceUID"} & set(both.dir())
        assert both.SourceImageSequence == single.SourceImageSequence
        left, right = np.hsplit(both.pixel_array, 2)
        assert not heat_pixels(left).any()
        assert heat_pixels(right).any() == heat_pixels(single.pixel_array).any()
