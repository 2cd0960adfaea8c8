"""Smoothing of maps along the slice axis."""

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.vision.slices.slice_axis import smooth_maps

pytestmark = pytest.mark.unit

MM = np.arange(7) * 5.0


def on_slices(*rows: int) -> NDArray[np.float32]:
    """Seven maps of 2 x 2, one pixel of which is surely lesion on some slices."""
    maps = np.full((7, 2, 2), 0.01, np.float32)
    maps[list(rows), 0, 1] = 0.99
    return maps


def outlined(maps: NDArray[np.float32]) -> list[int]:
    """Slices on which that pixel is lesion, and no other pixel anywhere."""
    assert (maps > 0.5).sum() == (maps[:, 0, 1] > 0.5).sum()
    return np.flatnonzero(maps[:, 0, 1] > 0.5).tolist()


def test_a_spot_that_both_neighbours_deny_is_no_lesion() -> None:
    assert outlined(smooth_maps(on_slices(3), MM, 5.0)) == []


def test_a_lesion_on_two_thick_slices_stays() -> None:
    assert outlined(smooth_maps(on_slices(3, 4), MM, 5.0)) == [3, 4]


def test_a_gap_in_a_lesion_is_closed() -> None:
    assert outlined(smooth_maps(on_slices(1, 2, 4, 5), MM, 5.0)) == [1, 2, 3, 4, 5]


def test_smoothing_goes_by_distance_and_not_by_number() -> None:
    far = smooth_maps(on_slices(3), MM * 10, 5.0)
    assert outlined(far) == [3]
    np.testing.assert_allclose(far, on_slices(3), atol=1e-4)


def test_of_no_slice_nothing_is_smoothed() -> None:
    assert smooth_maps(np.zeros((0, 2, 2), np.float32), MM[:0], 5.0).shape == (0, 2, 2)


def test_certain_pixels_stay_finite() -> None:
    maps = np.zeros((7, 2, 2), np.float32)
    maps[2:5] = 1.0
    assert np.isfinite(smooth_maps(maps, MM, 5.0)).all()
