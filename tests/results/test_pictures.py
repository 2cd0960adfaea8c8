"""What a reader sees: legible words, true places, nobody's name."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import Dataset, dcmread

from neurotriage.core.values import Outcome, Reason, ReasonCode, ResultKind, SeriesVerdict
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
from worker.results.pictures import page, typeface


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

    monkeypatch.setattr(page, "write", spy)
    return lines


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
    result = build(analysis, evidence, made.manifest, INSTALLATION).objects[0]
    picture = picture_of(result)
    assert picture is not None
    assert Image.open(io.BytesIO(picture)).size == (page.WIDTH_PX, page.HEIGHT_PX)
    headline = max(written, key=lambda line: line[1])
    assert headline[1] * 128 / page.WIDTH_PX >= 10  # pixels high in a thumbnail 128 pixels wide
    assert min(size for _, size, _ in written) >= 18
    for words, _, (left, top, right, bottom) in written:
        assert left >= 0, words
        assert top >= 0, words
        assert right <= page.WIDTH_PX, words
        assert bottom <= page.HEIGHT_PX, words
    assert "RESEARCH USE ONLY - NOT FOR DIAGNOSIS" in {words for words, _, _ in written}


def test_the_page_of_a_finding_says_what_where_and_how_sure(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.PRESENT)
    build(analysis, evidence, mr.manifest, INSTALLATION)
    words = " | ".join(line for line, _, _ in written)
    for said in (
        "TUMOUR SUSPECTED", "97.3 %", "threshold 50.0 %", "on the left", "mm across",
        "efficientnet-lite0-mr 1.0.0", "model relevance, not tumour extent", "AX FLAIR",
        "Series 3", "slice 10 of 15", "Urgent",
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
