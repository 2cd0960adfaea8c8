"""The network's input: what it must not depend on, and the way back to the source's pixels."""

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.vision.slices.preprocess import (
    Box,
    head_box,
    mask_input,
    network_input,
    network_inputs,
    to_source,
)

pytestmark = pytest.mark.unit


def head(rows: int = 120, columns: int = 150, centre: tuple[int, int] = (50, 90)) -> NDArray[np.float32]:
    """A bright textured ellipse (60 x 44 px) in a black frame."""
    y, x = np.mgrid[:rows, :columns]
    inside = ((y - centre[0]) / 30) ** 2 + ((x - centre[1]) / 22) ** 2 < 1
    return np.where(inside, 60 + 20 * np.sin(x / 5) + 20 * np.cos(y / 7), 0).astype(np.float32)


def test_the_box_is_the_head_and_not_the_frame() -> None:
    box = head_box(head())
    assert box.x0 <= 90 - 22 < 90 + 22 <= box.x1
    assert box.y0 <= 50 - 30 < 50 + 30 <= box.y1
    assert max(box.width_px, box.height_px) < 75


def test_scanner_text_beside_the_head_does_not_widen_the_box() -> None:
    picture = head()
    picture[5:9, 5:20] = 90
    assert head_box(picture) == head_box(head())


def test_the_box_is_square_in_millimetres() -> None:
    box = head_box(head(), spacing_mm=(2.0, 0.5))
    assert box.height_px * 2.0 == pytest.approx(box.width_px * 0.5, rel=0.05)


def test_a_volume_gets_one_box_that_holds_every_slice() -> None:
    volume = np.stack([head(centre=(50, 90)), head(centre=(60, 60))])
    box = head_box(volume)
    assert box.x0 <= 60 - 22
    assert box.x1 >= 90 + 22


@pytest.mark.parametrize("level", [0.0, 7.5, -1000.0])
def test_a_flat_image_gives_the_frame_and_a_black_input(level: float) -> None:
    picture = np.full((40, 60), level, np.float32)
    box = head_box(picture)
    assert box.x0 <= 0
    assert box.x1 >= 60
    assert not network_input(picture, box).any()


def test_the_input_does_not_depend_on_absolute_intensity() -> None:
    picture = head()
    scaled = picture * 37.5 - 400
    assert head_box(scaled) == head_box(picture)
    box = head_box(picture)
    np.testing.assert_allclose(network_input(scaled, box), network_input(picture, box), atol=1e-4)


def test_the_input_survives_values_that_are_no_numbers() -> None:
    picture = head()
    picture[0, 0], picture[1, 1] = np.nan, np.inf
    assert np.isfinite(network_input(picture, head_box(picture))).all()


def test_each_slice_is_scaled_by_its_own_range() -> None:
    picture = head()
    box = head_box(picture)
    both = network_inputs(np.stack([picture, picture * 9]), box)
    np.testing.assert_allclose(both[0], both[1], atol=1e-4)
    assert both.shape == (2, 1, 128, 128)
    assert both.dtype == np.float32


@pytest.mark.parametrize("box", [Box(10, 20, 90, 100), Box(-15, -30, 120, 105), Box(60, 40, 190, 170)])
def test_a_mask_finds_its_way_to_the_input_and_back(box: Box) -> None:
    mask = np.zeros((120, 150), bool)
    mask[50:80, 70:88] = True
    there = mask_input(mask, box, input_px=128)
    back = to_source(there[None], box, mask.shape)[0] > 0.5
    assert (back & mask).sum() / (back | mask).sum() > 0.9


def test_the_way_back_keeps_the_place_on_uneven_pixels() -> None:
    picture = head(rows=60, columns=300, centre=(30, 150))
    box = head_box(picture, spacing_mm=(2.0, 0.5))
    spot = np.zeros_like(picture, dtype=bool)
    spot[20:24, 170:186] = True
    back = to_source(mask_input(spot, box)[None], box, (60, 300))[0]
    row, column = np.unravel_index(back.argmax(), back.shape)
    assert 20 <= row < 24
    assert 170 <= column < 186


def test_outside_the_box_nothing_is_claimed() -> None:
    back = to_source(np.ones((1, 8, 8), np.float32), Box(10, 10, 20, 20), (40, 40))[0]
    assert back[10:20, 10:20].all()
    assert back.sum() == 100
