"""The scanner: what it samples lies where its geometry says, and its noise is that of MR and of CT."""

import numpy as np
import pytest

from neurotriage.demo.head import Head
from neurotriage.demo.patient import Patient, patient
from neurotriage.demo.scan import Scan, receive, reconstruct, sample

SPACING_MM = 2.0
ORIGIN_MM = (-40.0, -50.0, -30.0)
SHAPE = (41, 51, 31)  # up to +40, +50, +30
SCAN = Scan(5, 16, 1.5, 4.0, 3.0, centre_mm=(5.0, -7.0, 3.0))
NOISE = 20.0


@pytest.fixture(scope="module")
def person() -> Patient:
    """Nobody, on a small grid: only the place of its voxels is needed."""
    return patient(Head(np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8), ORIGIN_MM, SPACING_MM), None)


def coordinates() -> np.ndarray:
    """The template's x, y and z (RAS) of every voxel, (3, x, y, z)."""
    axes = [o + SPACING_MM * np.arange(n) for o, n in zip(ORIGIN_MM, SHAPE, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


@pytest.mark.parametrize("tilt_deg", [0.0, 20.0, -20.0])
def test_each_pixel_shows_the_place_that_its_header_gives_it(person: Patient, tilt_deg: float) -> None:
    """Fields of coordinates come back as coordinates: linear interpolation is exact for them."""
    scan = Scan(5, 16, 1.5, 4.0, 3.0, centre_mm=(5.0, -7.0, 3.0), tilt_deg=tilt_deg)
    sampled = np.stack([sample(person, field, scan, outside=np.nan) for field in coordinates()])
    as_lps = sampled * np.array([-1, -1, 1])[:, None, None, None]
    for index in range(scan.slices):
        for row, column in ((0, 0), (0, 15), (15, 0), (7, 3)):
            stated = (
                scan.position_mm(index)
                + scan.row_direction * scan.pixel_mm * column
                + scan.column_direction * scan.pixel_mm * row
            )
            np.testing.assert_allclose(as_lps[:, index, row, column], stated, atol=1e-3)


def test_a_positive_tilt_lifts_the_front() -> None:
    tilted = Scan(1, 16, 1.5, 4.0, 3.0, centre_mm=(0, 0, 0), tilt_deg=10)
    front, back = tilted.position_mm(0), tilted.position_mm(0) + tilted.column_direction * 15 * 1.5
    assert front[1] < back[1]
    assert front[2] > back[2]


def test_a_slice_averages_over_its_thickness(person: Patient) -> None:
    """An edge within a slice is grey there and sharp in the next ones."""
    above = (coordinates()[2] > SCAN.centre_mm[2]).astype(np.float32)
    values = sample(person, above, SCAN, outside=0).mean(axis=(1, 2))
    assert values[:2].tolist() == [0, 0]
    assert 0.2 < values[2] < 0.8
    assert values[3:].tolist() == [1, 1]


def test_outside_the_grid_is_what_was_asked_for(person: Patient) -> None:
    far = Scan(1, 8, 1.0, 4.0, 3.0, centre_mm=(500, 0, 0))
    assert (sample(person, np.ones(SHAPE, np.float32), far, outside=-1000) == -1000).all()


def test_the_background_of_an_mr_has_rician_noise() -> None:
    """Without signal it is Rayleigh distributed: mean and deviation are known (Gudbjartsson 1995)."""
    air = receive(np.zeros((4, 128, 128), np.float32), NOISE, seed=1)
    assert air.min() >= 0
    assert air.mean() == pytest.approx(NOISE * np.sqrt(np.pi / 2), rel=0.02)
    assert air.std() == pytest.approx(NOISE * np.sqrt(2 - np.pi / 2), rel=0.02)


def test_the_coil_is_uneven_but_not_by_much() -> None:
    received = receive(np.full((4, 64, 64), 1000, np.float32), noise=0.0, seed=1)
    assert received.std() > 1
    assert 600 < received.min() < received.max() < 1400


def test_noise_is_repeated_by_its_seed_and_by_no_other() -> None:
    slices = np.full((2, 32, 32), 500, np.float32)
    np.testing.assert_array_equal(receive(slices, NOISE, seed=3), receive(slices, NOISE, seed=3))
    assert not np.array_equal(receive(slices, NOISE, seed=3), receive(slices, NOISE, seed=4))
    np.testing.assert_array_equal(reconstruct(slices, 64, 4.0, seed=3), reconstruct(slices, 64, 4.0, seed=3))
    assert not np.array_equal(reconstruct(slices, 64, 4.0, seed=3), reconstruct(slices, 64, 4.0, seed=4))


def test_a_ct_has_the_noise_that_was_asked_for_and_no_offset() -> None:
    water = reconstruct(np.zeros((3, 128, 128), np.float32), 256, 4.0, seed=1)
    assert water.shape == (3, 256, 256)
    assert water.mean() == pytest.approx(0, abs=0.2)
    assert water.std() == pytest.approx(4.0, rel=0.02)


def test_a_ct_keeps_to_the_range_of_hounsfield_units() -> None:
    slices = np.stack([np.full((32, 32), value, np.float32) for value in (-5000, 5000)])
    reconstructed = reconstruct(slices, 64, 4.0, seed=1)
    assert (reconstructed.min(), reconstructed.max()) == (-1024, 3071)


def test_enlarging_a_ct_moves_nothing() -> None:
    """A block of coarse pixels becomes the block of fine ones that covers the same area."""
    slices = np.zeros((1, 32, 32), np.float32)
    slices[0, 8:12, 20:24] = 1000
    rows, columns = np.nonzero(reconstruct(slices, 64, 0.001, seed=1)[0] > 500)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (16, 24, 40, 48)
