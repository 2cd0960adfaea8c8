"""How pixels become pictures and words become lines."""

import numpy as np
import pytest
from pydicom import Dataset

from neurotriage.phantom import AXIAL, CORONAL, FLIPPED, SAGITTAL, TILTED
from worker.results.pictures import picture, typeface
from worker.results.sources.display import window_of
from worker.results.sources.scene import filled
from worker.results.wording.free_text import without_identity

pytestmark = pytest.mark.unit


def test_the_outline_is_white_on_a_black_rim_outside_the_lesion() -> None:
    mask = np.zeros((100, 100), dtype=np.bool_)
    mask[40:60, 30:70] = True
    grey = np.full((100, 100, 3), 128, dtype=np.uint8)
    drawn = picture.with_outline(grey, mask, line_px=2)
    assert (drawn[mask] == 128).all()
    row = drawn[50, 70:76, 0].tolist()
    assert row == [0, 255, 255, 0, 128, 128]


def test_the_heat_map_is_clear_below_its_threshold_and_colourful_at_a_high_probability() -> None:
    grey = np.full((8, 8, 3), 100, dtype=np.uint8)
    below = np.full((8, 8), picture.HEAT_CLEAR - 0.01, dtype=np.float16)
    assert (picture.with_heat(grey, below) == 100).all()
    colourful = [
        np.ptp(picture.with_heat(grey, np.full((8, 8), value, dtype=np.float16))[4, 4].astype(int))
        for value in (0.3, 0.45, 0.7, 1.0)
    ]
    assert colourful == sorted(colourful)
    assert colourful[0] < 40
    assert colourful[-1] > 120


def test_a_value_has_the_same_colour_whatever_else_is_on_the_slice() -> None:
    grey = np.full((8, 16, 3), 100, dtype=np.uint8)
    alone = np.zeros((8, 16), dtype=np.float16)
    alone[:, :8] = 0.5
    beside = alone.copy()
    beside[:, 10:] = 1.0
    np.testing.assert_array_equal(
        picture.with_heat(grey, alone)[:, :7], picture.with_heat(grey, beside)[:, :7]
    )


@pytest.mark.parametrize("value", [0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("brightness", [10, 60, 128, 200, 245])
def test_a_faint_lesion_stays_visible_under_the_heat_map(brightness: int, value: float) -> None:
    luma = np.array([0.299, 0.587, 0.114])
    tissue, lesion = (
        picture.tinted(np.array([level]), np.array([value]))[0] @ luma
        for level in (brightness, brightness + 10)
    )
    assert lesion - tissue >= 6.4  # of 10 grey levels
    assert abs(tissue - brightness) <= 0.36 * abs(brightness - 127.5) + 1


def test_an_outline_of_points_is_filled_on_the_pixels_whose_centres_it_holds() -> None:
    mask = filled([((2.0, 1.0), (6.0, 1.0), (6.0, 4.0), (2.0, 4.0), (2.0, 1.0))], (8, 10))
    expected = np.zeros((8, 10), dtype=np.bool_)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_number_stays_with_its_unit() -> None:
    lines = typeface.wrap("on the left, 16 mm across, probability <1 % of all", typeface.font(20), 90, 9)
    assert "16 mm" in lines
    assert any(line.startswith("<1 %") for line in lines)


def test_ct_is_shown_in_the_brain_window_and_mr_by_its_own_head() -> None:
    slices = [np.full((16, 16), 40, dtype=np.float32)]
    assert window_of("CT", slices) == (0, 80)
    head = np.zeros((64, 64), dtype=np.float32)
    head[8:56, 8:56] = np.linspace(300, 900, 48, dtype=np.float32)
    low, high = window_of("MR", [head])
    assert 300 <= low < 330
    assert 870 < high <= 900


@pytest.mark.parametrize(
    ("orientation", "marks"),
    [
        (AXIAL, ("R", "L", "A", "P")),
        (SAGITTAL, ("A", "P", "H", "F")),
        (CORONAL, ("R", "L", "H", "F")),
        (FLIPPED, ("L", "R", "P", "A")),
        (TILTED, ("R", "L", "AH", "PF")),
    ],
)
def test_orientation_marks_follow_the_header(orientation: tuple[float, ...], marks: tuple[str, ...]) -> None:
    axes = np.array(orientation, float)
    assert picture.orientation_marks(axes[:3], axes[3:]) == marks


def test_a_name_typed_into_a_series_description_is_blanked() -> None:
    header = Dataset()
    header.PatientName, header.PatientID = "Mustermann^Erika", "PAT-4711"
    assert without_identity("T2 mustermann PAT-4711 ax", header) == "T2 ... ... ax"


@pytest.mark.parametrize(
    ("name", "words", "shown"),
    [
        ("DEMO^HEAD CT", "HEAD AXIAL 5.0 MM", "HEAD AXIAL 5.0 MM"),
        ("Lai^Ann", "FLAIR AX TRANSVERSE", "FLAIR AX TRANSVERSE"),
        ("Head^John", "HEAD JOHN T1", "... ... T1"),
        ("Lai^Ann", "t2_lai_ax LAI1975 id4711", "t2_..._ax ...1975 id..."),
        ("Mustermann^Erika", "MUSTERMANNERIKA T2", "...... T2"),
    ],
)
def test_a_word_of_every_description_is_shown_unless_a_name_stands_beside_it(
    name: str, words: str, shown: str
) -> None:
    header = Dataset()
    header.PatientName, header.PatientID = name, "4711"
    assert without_identity(words, header) == shown


def test_words_that_the_font_cannot_draw_become_question_marks() -> None:
    assert typeface.drawable("頭部 MRI\nÖdem") == "?? MRI Ödem"


def test_long_text_is_wrapped_and_cut_to_its_width() -> None:
    face = typeface.font(20)
    lines = typeface.wrap("one two three four five six seven eight nine ten " * 5, face, 150, 3)
    assert len(lines) == 3
    assert all(face.getlength(line) <= 150 for line in lines)
    assert lines[-1].endswith("…")


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("size_px", [20.0, 22.4, 23.04, 40.96])
def test_a_fitted_typeface_fits(size_px: float, bold: bool) -> None:
    words = "Slice 12 of 22 (image 11) · 96 % with neighbours, >99 % alone"
    length = typeface.font(size_px, bold).getlength(words)
    for share in np.linspace(0.75, 1.0, 60):
        face = typeface.fitted(words, size_px, share * length, bold, least_px=0.7 * size_px)
        assert face.getlength(words) <= share * length
        assert face.size > 0.94 * share * size_px - 1  # no smaller than it has to be
