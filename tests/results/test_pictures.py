"""What a reader sees: legible words, true places, nobody's name."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import Dataset, dcmread

from neurotriage.core.evidence import Evidence
from neurotriage.core.values import (
    Analysis,
    Outcome,
    OverlayStyle,
    Reason,
    ReasonCode,
    ResultKind,
    ResultObject,
    SeriesVerdict,
    Side,
    Triage,
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
from worker.results import build, picture_of
from worker.results.pictures import overlay, page, panes, picture, typeface
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


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, tuple[float, float, float, float]]]:
    """What is written on a page: the words, their size in pixels, and the box they take."""
    lines: list[tuple[str, float, tuple[float, float, float, float]]] = []

    def spy(
        draw: ImageDraw.ImageDraw, place: Any, words: str, face: Any, colour: Any, *rest: Any, **more: Any
    ) -> None:
        anchor = more.get("anchor", rest[0] if rest else "ls")
        lines.append((words, face.size, draw.textbbox(place, words, font=face, anchor=anchor)))
        typeface.write(draw, place, words, face, colour, *rest, **more)

    for room in (page, panes, overlay):
        monkeypatch.setattr(room, "write", spy)
    return lines


def words_of(written: Any) -> str:
    return " | ".join(line for line, _, _ in written)


@pytest.mark.parametrize("outcome", Outcome)
def test_the_page_is_legible_and_nothing_leaves_it(outcome: Outcome, tmp_path: Path, written: Any) -> None:
    made = make_study(tmp_path, slices=9, header={"SeriesDescription": "long words " * 5})
    many = tuple(
        SeriesVerdict(
            f"1.2.{n}", "MR", "description " * 8, False, Reason(ReasonCode.LOCALIZER, "reason " * 60)
        )
        for n in range(200)
    )
    reasons = (Reason(ReasonCode.NO_SAFE_ANSWER, "a very long reason indeed " * 40),)
    analysis, evidence = make_analysis(made, outcome, verdicts=many, reasons=reasons)
    (result,) = build(analysis, evidence, made.manifest, INSTALLATION, kinds={ResultKind.PAGE}).objects
    picture = picture_of(result)
    assert picture is not None
    assert Image.open(io.BytesIO(picture)).size == (page.WIDTH_PX, page.HEIGHT_PX)
    headline = max(written, key=lambda line: line[1])
    assert headline[1] * 128 / page.WIDTH_PX >= 10  # pixels high in a thumbnail 128 pixels wide
    assert min(size for line, size, _ in written) >= 18
    for words, _, (left, top, right, bottom) in written:
        assert left >= 0, words
        assert top >= 0, words
        assert right <= page.WIDTH_PX, words
        assert bottom <= page.HEIGHT_PX, words
    assert "RESEARCH USE ONLY - NOT FOR DIAGNOSIS" in {words for words, _, _ in written}


def test_the_page_of_a_finding_says_what_where_and_how_sure(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.PRESENT)
    build(analysis, evidence, mr.manifest, INSTALLATION, kinds={ResultKind.PAGE})
    words = words_of(written)
    for said in (
        "TUMOUR SUSPECTED", "97 %", "threshold 50 %", "on the left", "mm across",
        "efficientnet-lite0-mr 1.0.0", "model relevance, not tumour extent", "AX FLAIR",
        "Series 3", "slice 10 of 15 (image 10)", "Urgent", "0 %", "100 %", "clear below 25 %",
        "20 Nov 2026, 10:30 +01:00",
    ):  # fmt: skip
        assert said in words


def test_the_page_of_a_refused_study_lists_its_series_with_reasons(tmp_path: Path, written: Any) -> None:
    made = make_study(tmp_path, slices=3)
    analysis, evidence = make_analysis(made, Outcome.NOT_ELIGIBLE)
    build(analysis, evidence, made.manifest, INSTALLATION)
    words = [line for line, _, _ in written]
    assert "NOT ANALYSED" in words
    assert "Refused: a localizer, three planes" in words
    assert "3-PLANE LOC" in words


def test_pictures_do_not_depend_on_who_the_patient_is(tmp_path: Path) -> None:
    pictures = []
    for name, identity in (("Doe^Jane", "PAT-4711"), ("山田^太郎", "77")):
        header = {"PatientName": name, "PatientID": identity, "AccessionNumber": identity}
        made = make_study(tmp_path / identity, slices=9, header=header)
        for outcome in Outcome:
            analysis, evidence = make_analysis(made, outcome)
            results = build(analysis, evidence, made.manifest, INSTALLATION).objects
            pictures.append([picture_of(result) for result in results])
    half = len(pictures) // 2
    assert pictures[:half] == pictures[half:]


def page_of(analysis: Analysis, evidence: Evidence, made: Made) -> NDArray[np.uint8]:
    (result,) = build(analysis, evidence, made.manifest, INSTALLATION, kinds={ResultKind.PAGE}).objects
    return pixels_of(result)


def pixels_of(result: ResultObject) -> NDArray[np.uint8]:
    return np.asarray(dcmread(io.BytesIO(result.data)).pixel_array)


def with_more_lesions(made: Made, count: int) -> tuple[Analysis, Evidence]:
    """The lesion again as others, each smaller than the one before and largest on another slice."""
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    sizes = [finding.size_mm for finding in analysis.findings]
    others = tuple(
        replace(
            finding, lesion=number, side=Side.RIGHT, size_mm=sizes[(place + number) % len(sizes)] / number
        )
        for number in range(2, count + 1)
        for place, finding in enumerate(analysis.findings)
    )
    return replace(analysis, findings=(*analysis.findings, *others)), evidence


def test_two_lesions_are_both_on_the_page_with_number_side_size_and_slice(mr: Made, written: Any) -> None:
    shown = page_of(*with_more_lesions(mr, 2), mr)
    for words in (
        "2 suspected lesions", "on the left, 31 mm across", "16 mm across",
        "Lesion 1: left, 31 mm", "Lesion 2: right, 16 mm", "slice 10 of 15", "slice 8 of 15", "2 outlined",
    ):  # fmt: skip
        assert words in words_of(written)
    for left in (page.MARGIN_PX, page.WIDTH_PX // 2 + 12):
        assert np.ptp(shown[280:680, left + 60 : left + 440].astype(int), axis=2).max() > 80


def test_of_many_lesions_three_are_shown_and_the_others_counted(mr: Made, written: Any) -> None:
    page_of(*with_more_lesions(mr, 5), mr)
    assert "5 suspected lesions" in words_of(written)
    assert "and 2 more" in words_of(written)
    assert [line for line, _, _ in written if line.startswith("Lesion ")] == [
        "Lesion 1: left, 31 mm", "Lesion 2: right, 16 mm", "Lesion 3: right, 10 mm",
    ]  # fmt: skip


def test_lesions_that_are_largest_on_one_slice_share_its_picture(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.PRESENT)
    other = tuple(replace(f, lesion=2, size_mm=f.size_mm / 2) for f in analysis.findings)
    page_of(replace(analysis, findings=(*analysis.findings, *other)), evidence, mr)
    lines = [line for line, _, _ in written]
    assert "Lesion 1: left, 31 mm; lesion 2: left, 16 mm" in lines
    assert "The same slice without marks" in lines
    assert {"1", "2"} <= set(lines)  # beside the outlines


def without_marks(evidence: Evidence) -> Evidence:
    """As vision keeps the slice that decided where its score is below the lower threshold."""
    kept = (replace(item, heat=0 * item.heat, mask=np.zeros_like(item.mask)) for item in evidence.slices)
    return replace(evidence, slices=tuple(kept))


def test_a_study_in_doubt_without_a_suspicious_slice_has_no_mark_anywhere(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.UNDETERMINED)
    kinds = {
        ResultKind.OVERLAY,
        ResultKind.OVERLAY_FRAMES,
        ResultKind.PARAMETRIC_MAP,
        ResultKind.SEGMENTATION,
    }
    results = build(analysis, without_marks(evidence), mr.manifest, INSTALLATION, kinds=kinds)
    assert not results.objects
    assert {item.kind for item in results.omissions} == kinds
    shown = page_of(analysis, without_marks(evidence), mr)
    for left in (page.MARGIN_PX, page.WIDTH_PX // 2 + 12):
        assert np.ptp(shown[240:680, left + 50 : left + 500].astype(int), axis=2).max() <= 12
    assert "model relevance" not in words_of(written)
    assert "slice 10 of 15" in words_of(written)  # which decided


def test_a_page_says_what_else_may_be_wrong_where_that_decides(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.UNDETERMINED)
    probabilities = {"tumour": 0.12, "look_alike": 0.836}
    told = replace(
        analysis,
        triage=Triage.URGENT,
        reasons=(Reason(ReasonCode.LOOK_ALIKE, "something looks wrong"),),
        predictions=tuple(replace(p, probabilities=probabilities) for p in analysis.predictions),
    )
    page_of(told, evidence, mr)
    lines = [line for line, _, _ in written]
    assert lines[lines.index("Bleed, infarct or clip") + 1] == "84 %"
    written.clear()
    page_of(replace(told, reasons=analysis.reasons), evidence, mr)
    assert "Bleed, infarct or clip" not in words_of(written)


def test_the_page_shows_a_marked_slice_beside_the_deciding_one_that_has_no_mark(
    mr: Made, written: Any
) -> None:
    analysis, evidence = make_analysis(mr, Outcome.UNDETERMINED)
    assert evidence.key is not None
    bare = evidence.slices[evidence.key]
    bare = replace(bare, heat=0 * bare.heat)
    alike = Reason(ReasonCode.LOOK_ALIKE, "something looks wrong")
    slices = tuple(bare if item.slice_index == bare.slice_index else item for item in evidence.slices)
    shown = page_of(replace(analysis, reasons=(alike,)), replace(evidence, slices=slices), mr)
    words = words_of(written)
    assert "Highest for bleed, infarct or clip" in words
    assert "slice 10 of 15" in words
    assert "Tumour 51 %, no outline" in words
    assert "model relevance, not tumour extent" in words
    left, right = (
        np.ptp(shown[280:680, x + 60 : x + 440].astype(int), axis=2).max()
        for x in (page.MARGIN_PX, page.WIDTH_PX // 2 + 12)
    )
    assert left <= 12
    assert right > 40


@pytest.mark.parametrize("note", ["", "a note of many words " * 12])
def test_the_page_tells_each_slice_in_full(note: str, mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.UNDETERMINED, degradations=(note,) if note else ())
    alone = tuple(replace(item, probability=0.92) for item in evidence.slices)
    page_of(analysis, replace(evidence, slices=alone), mr)
    lines = [line for line, _, _ in written]
    assert "51 % with neighbours, 92 % alone, no outline" in lines
    assert sum("slice 10 of 15 (image 10)" in line for line in lines) == 2
    assert sum("MR · Series 3 · AX FLAIR" in line for line in lines) == 2


def test_slices_all_along_are_counted_by_their_series_or_stack(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.ABSENT)
    page_of(analysis, evidence, mr)
    assert "9 of the 15 analysed slices of this series" in words_of(written)
    written.clear()
    (own,) = analysis.series
    page_of(replace(analysis, series=(own, replace(own, stack=2, slices=()))), evidence, mr)
    assert "9 of the 15 analysed slices of this stack" in words_of(written)


def test_the_page_of_few_series_tells_their_reasons_in_full(tmp_path: Path, written: Any) -> None:
    made = make_study(tmp_path, slices=3)
    reason = "twenty-nine of thirty images lie at one and the same place " * 3
    verdicts = (SeriesVerdict("1.2.3", "CT", "HEAD", False, Reason(ReasonCode.TOO_FEW_SLICES, reason)),)
    analysis, evidence = make_analysis(made, Outcome.POOR_QUALITY, verdicts=verdicts)
    page_of(analysis, evidence, made)
    lines = [line for line, _, _ in written]
    start = next(place for place, line in enumerate(lines) if line.startswith("Refused: twenty"))
    assert " ".join(lines[start : start + 4]).count("place") == 3
    assert not any(line.endswith("…") for line in lines)


def test_the_page_says_what_was_not_looked_at_and_names_the_series(mr: Made, written: Any) -> None:
    note = f"9 images of series {mr.series_uid} were left out: another tilt"
    analysis, evidence = make_analysis(mr, Outcome.ABSENT, degradations=(note,))
    page_of(analysis, evidence, mr)
    assert "Note: 9 images of the MR series AX FLAIR were left out: another tilt." in words_of(written)


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
    for one, both in zip(overlays_of(mr), overlays_of(mr, OverlayStyle.BOTH), strict=True):
        assert (both.Rows, both.Columns) == (one.Rows, 2 * one.Columns)
        assert "ImagePositionPatient" in one
        assert not {"ImagePositionPatient", "PixelSpacing", "FrameOfReferenceUID"} & set(both.dir())
        assert both.SourceImageSequence == one.SourceImageSequence
        left, right = np.hsplit(both.pixel_array, 2)
        assert not heat_pixels(left).any()
        assert heat_pixels(right).any() == heat_pixels(one.pixel_array).any()
