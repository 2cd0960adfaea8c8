"""What leaves the site as a picture: voxels of the head, and nothing that could be read."""

import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import dcmread

from neurotriage.core.values import Outcome
from neurotriage.phantom import Made, make_analysis, make_study
from tests.conftest import absent
from worker.results.sources.scene import read_scene
from worker.second_opinion import SlicePicture, TextFinder, Withheld, slice_pictures
from worker.second_opinion.pictures import FindsText


class Blind:
    """Finds no text."""

    def finds(self, picture: NDArray[np.uint8]) -> bool:
        return False


@pytest.fixture(scope="session")
def finder() -> TextFinder:
    try:
        return TextFinder()
    except Withheld as withheld:
        absent("ocr", str(withheld))
        raise


def _written(folder: Path, words: str, place: tuple[int, int], value: int = 4000) -> None:
    """Write into the pixels of every image of a folder."""
    for file in folder.rglob("*.dcm"):
        dataset = dcmread(file)
        pixels = dataset.pixel_array.copy()
        mask = Image.new("1", pixels.shape[::-1])
        ImageDraw.Draw(mask).text(place, words, fill=1, font_size=16)
        pixels[np.asarray(mask)] = value
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(file)


def _shown(folder: Path, finder: FindsText, *, most: int = 3, **header: str) -> tuple[SlicePicture, ...]:
    made = make_study(folder, slices=9, **({"header": header} if header else {}))
    return _of(made, finder, most)


def _of(made: Made, finder: FindsText, most: int = 3) -> tuple[SlicePicture, ...]:
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    return slice_pictures(analysis, read_scene(analysis, evidence, made.manifest), finder, most=most)


def test_pictures_are_grey_bounded_and_without_any_word_of_a_file(tmp_path: Path) -> None:
    pictures = _shown(tmp_path, Blind(), PatientName="Canary^Name")
    assert 1 < len(pictures) <= 3
    for shown in pictures:
        picture = Image.open(io.BytesIO(shown.png))
        assert (picture.mode, picture.info) == ("L", {})
        assert max(picture.size) <= 384
        assert b"Canary" not in shown.png


def test_what_lies_outside_the_head_is_black(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=9)
    _written(tmp_path, "X", (56, 34))  # within the box around the head, beside the head
    for shown in _of(made, Blind()):
        pixels = np.asarray(Image.open(io.BytesIO(shown.png)))
        assert pixels[:16, :16].max() == 0


def test_the_left_half_of_an_axial_picture_is_the_patients_right(tmp_path: Path) -> None:
    assert {shown.left_is_left for shown in _shown(tmp_path, Blind())} == {False}


@pytest.mark.parametrize("value", ["YES", "yes", "UNKNOWN"])
def test_nothing_is_sent_of_an_image_that_says_annotation_is_burnt_in(tmp_path: Path, value: str) -> None:
    with pytest.raises(Withheld, match="burnt in"):
        _shown(tmp_path, Blind(), BurnedInAnnotation=value)
    assert _shown(tmp_path / "no", Blind(), BurnedInAnnotation="NO")


@pytest.mark.parametrize("place", [(4, 4), (90, 110)], ids=["beside the head", "on the head"])
def test_nothing_is_sent_where_text_is_found(
    tmp_path: Path, finder: TextFinder, place: tuple[int, int]
) -> None:
    made = make_study(tmp_path, slices=9)
    assert _of(made, finder)
    _written(tmp_path, "DOE JANE 1970", place)
    with pytest.raises(Withheld, match="text was found"):
        _of(made, finder)


def test_without_a_reader_of_text_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(Withheld, match="no reader of text is installed"):
        TextFinder()


class _Broken:
    """A reader of text that fails: while it loads, or on a picture."""

    def __init__(self, *, loads: bool) -> None:
        self.loads = loads

    def __call__(self, picture: object = None, params: object = None) -> "_Broken":
        if params is not None and self.loads:
            return self
        raise RuntimeError("a model is missing")


@pytest.mark.parametrize("loads", [False, True], ids=["loading", "reading"])
def test_nothing_is_sent_where_the_reader_of_text_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: bool
) -> None:
    module = ModuleType("rapidocr")
    monkeypatch.setattr(module, "RapidOCR", _Broken(loads=loads), raising=False)
    monkeypatch.setitem(sys.modules, "rapidocr", module)
    with pytest.raises(Withheld, match="the reader of text failed"):
        _shown(tmp_path, TextFinder())
