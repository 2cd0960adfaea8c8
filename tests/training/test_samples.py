"""Stored slices and the order in which they are drawn."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.training.conftest import slice_picture
from tests.training.drawn import row
from training.data.samples import (
    CONTEXT,
    OTHER_CELL_SHARE,
    SMALLEST_VOLUME_SCALE,
    STORED_PX,
    UNLABELLED,
    Draw,
    Stock,
    cell_of,
    depth_of,
    seen_box,
    stock,
    stored_mask,
    stored_picture,
    stored_px,
    volume_scales,
)
from worker.vision.slices.preprocess import Box, head_box

pytestmark = pytest.mark.unit


def of_cells(cells: list[tuple[str, str]], series: list[str] | None = None) -> Stock:
    """A stock of empty pictures in these cells."""
    count = len(cells)
    pictures, numbers = torch.zeros(count, 4, 4, dtype=torch.uint8), torch.zeros(count, dtype=torch.long)
    names = tuple(series or map(str, range(count)))
    known = torch.ones(count, dtype=torch.bool)
    return Stock(
        pictures, pictures, pictures, numbers, numbers, known, torch.ones(count), tuple(cells), names
    )


def test_each_cell_is_drawn_by_its_share_however_many_slices_it_has() -> None:
    stored = of_cells([("a", "1")] * 100 + [("b", "0")] * 4 + [("c", "0")] * 30)
    draw = Draw(stored, 0, {("a", "1"): 1.5, ("b", "0"): 4.5})
    drawn = Counter(stored.cells[index][0] for index in draw.batch(6000).tolist())
    whole = 1.5 + 4.5 + OTHER_CELL_SHARE
    for name, share in (("a", 1.5), ("b", 4.5), ("c", OTHER_CELL_SHARE)):
        assert drawn[name] / 6000 == pytest.approx(share / whole, abs=0.02)


def test_a_series_of_n_slices_is_drawn_as_often_as_root_n_alone() -> None:
    stored = of_cells([("a", "1")] * 26, ["long"] * 25 + ["short"])
    drawn = Draw(stored, 0).batch(6000)
    assert float((drawn == 25).float().mean()) == pytest.approx(1 / 6, abs=0.02)


def test_the_same_seed_draws_the_same_slices() -> None:
    stored = of_cells([("a", "1")] * 9 + [("b", "0")] * 9)
    first, again, other = (Draw(stored, seed).batch(32) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("name", "source", "tumour", "cell"),
    [
        ("men_0001.png", "figshare", True, ("figshare", "meningioma")),
        ("pit_0001.png", "figshare", True, ("figshare", "pituitary")),
        ("gli_0001.png", "figshare", True, ("figshare", "glioma")),
        ("x.png", "lgg", False, ("lgg", "0")),
        ("x.png", "elsewhere", None, ("elsewhere", str(UNLABELLED))),
    ],
)
def test_a_slice_is_drawn_with_its_kind(name: str, source: str, tumour: bool | None, cell: object) -> None:
    assert cell_of(row(name, source=source, tumour=tumour)) == cell


def test_a_slice_looks_as_small_as_it_does_in_its_volume() -> None:
    boxes = [("a", Box(0, 0, 100, 100)), ("a", Box(20, 20, 80, 80)), ("a", Box(45, 45, 55, 55))]
    scales = volume_scales([*boxes, ("b", Box(0, 0, 10, 10))])
    assert scales.tolist() == pytest.approx([1.0, 0.6, SMALLEST_VOLUME_SCALE, 1.0])


@settings(max_examples=30, deadline=None)
@given(input_px=st.integers(32, 512))
def test_stored_pictures_are_large_enough_for_the_input(input_px: int) -> None:
    assert stored_px(input_px) >= max(STORED_PX, input_px * CONTEXT)


def test_the_network_is_shown_the_head_and_not_the_room_around_it() -> None:
    box = seen_box(STORED_PX)
    assert box.width_px == box.height_px == pytest.approx(STORED_PX / CONTEXT, abs=1)
    assert box.x0 + box.x1 == box.y0 + box.y1 == STORED_PX, "it is centred"


def test_depth_is_the_distance_to_the_outside_of_the_filled_head() -> None:
    y, x = np.mgrid[:STORED_PX, :STORED_PX]
    radius = np.hypot(y - 88, x - 88)
    ring = np.where((radius < 60) & (radius > 50), 200, 0).astype(np.uint8)
    depth = depth_of(ring)
    assert depth[0, 0] == 0
    assert depth[88, 88] == pytest.approx(60, abs=2), "the hole of the ring is inside the head"
    assert depth[88, 88 - 40] == pytest.approx(20, abs=2)


def test_depth_does_not_depend_on_the_size_of_the_picture() -> None:
    def disc(side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        y, x = np.mgrid[:side, :side]
        return np.where(np.hypot(y - side / 2, x - side / 2) < 0.3 * side, 200, 0).astype(np.uint8)

    assert int(depth_of(disc(352)).max()) == pytest.approx(int(depth_of(disc(STORED_PX)).max()), abs=1)


def test_a_lesion_lies_at_the_same_place_in_picture_and_mask() -> None:
    grey = np.zeros((120, 100), np.uint8)
    y, x = np.mgrid[:120, :100]
    grey[np.hypot((y - 60) / 50, (x - 50) / 40) < 1] = 90
    mask = np.hypot(y - 45, x - 35) < 8
    grey[mask] = 250
    box = head_box(grey)
    picture, stored = stored_picture(grey, box), stored_mask(mask, box)
    assert picture.shape == stored.shape == (STORED_PX, STORED_PX)
    bright, lesion = picture > 220, stored > 127
    assert (bright & lesion).sum() > 0.9 * (bright | lesion).sum()


def test_a_slice_without_a_mask_has_an_empty_one() -> None:
    assert not stored_mask(None, Box(0, 0, 9, 9), 32).any()


def test_whether_a_mask_is_known_is_kept(tmp_path: Path) -> None:
    """No mask of a tumour-free slice is an empty mask; of a tumour it is an unknown one."""
    Image.fromarray(slice_picture(None, 0)[0]).save(tmp_path / "a.png")
    rows = [row(str(tmp_path / "a.png"), tumour=tumour) for tumour in (True, False, None)]
    stored = stock([*rows, replace(rows[1], label="healthy")], 64)
    assert stored.masked.tolist() == [False, True, False, True]
    assert stored.tumour.tolist() == [1, 0, UNLABELLED, 0]
    assert stored.classes.tolist() == [UNLABELLED] * 3 + [0]
