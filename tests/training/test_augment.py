"""Augmentation: truth follows the picture, and what is promised not to change does not."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.training.drawn import slices
from training.data.samples import CONTEXT, UNLABELLED
from training.fit import augment, augment_ct
from training.fit.augment import Slices, augmented, blurred, placed, ranged
from training.fit.augment_ct import ct_augmented

pytestmark = pytest.mark.unit

STORED, INPUT = 88, 64


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def discs(count: int, centre: tuple[int, int] = (40, 50), radius_px: float = 5) -> torch.Tensor:
    """(count, S, S): one bright disc on black."""
    y, x = np.mgrid[:STORED, :STORED]
    disc = np.hypot(y - centre[0], x - centre[1]) < radius_px
    return torch.from_numpy(disc.astype(np.float32)).expand(count, -1, -1).clone()


def middle(maps: torch.Tensor) -> torch.Tensor:
    """(N, 2): row and column of the centre of mass of maps (N, 1, S, S)."""
    axis = torch.arange(maps.shape[-1], dtype=torch.float32)
    mass = maps[:, 0].sum((1, 2)).clamp_min(1e-6)
    rows, columns = (maps[:, 0].sum(2) * axis).sum(1), (maps[:, 0].sum(1) * axis).sum(1)
    return torch.stack([rows, columns], 1) / mass[:, None]


def heads(count: int) -> torch.Tensor:
    """(count, S, S): an even head with grain on black."""
    y, x = np.mgrid[:STORED, :STORED]
    inside = torch.from_numpy(np.hypot(y - 44, x - 44) < 34)
    return torch.where(inside, 0.5 + 0.05 * torch.randn(count, STORED, STORED), 0.0).clamp(0, 1)


def test_a_marked_point_maps_to_the_same_place_in_picture_mask_and_depth() -> None:
    marks = discs(80)
    raw = slices(marks, marks)
    raw = Slices(raw.images, raw.masks, marks[:, None], raw.tumour, raw.classes, raw.masked)
    made = placed(raw, torch.full((80,), 0.7), INPUT)
    torch.testing.assert_close(made.images, made.masks)
    torch.testing.assert_close(made.images, made.depths)
    assert middle(made.masks).std(0).min() > 2, "points do move"


def test_the_mask_stays_on_the_lesion_through_all_of_augmentation() -> None:
    count = 80
    images = heads(count) * 0.6 + 0.0
    lesions = discs(count, radius_px=7)
    images = torch.where(lesions > 0, 0.95, images)
    for change in (augmented, ct_augmented):
        made = change(slices(images, lesions, [1] * count, [True] * count), torch.ones(count), INPUT)
        known = made.masks.sum((1, 2, 3)) > 20
        assert known.float().mean() > 0.9
        inside = (made.images * made.masks).sum((1, 2, 3)) / made.masks.sum((1, 2, 3)).clamp_min(1)
        around = functional.max_pool2d(made.masks, 9, 1, 4) - functional.max_pool2d(made.masks, 5, 1, 2)
        outside = (made.images * around).sum((1, 2, 3)) / around.sum((1, 2, 3)).clamp_min(1)
        differs = ((inside - outside).abs() > 0.05)[known].float().mean()
        assert differs > 0.8, "a lesion differs from its surroundings where its mask is, and not elsewhere"


def test_masks_are_of_zeros_and_ones() -> None:
    made = augmented(slices(heads(40), discs(40), [1] * 40, [True] * 40), torch.ones(40), INPUT)
    assert set(made.masks.unique().tolist()) == {0.0, 1.0}


def test_without_change_the_network_is_shown_the_box_of_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    still = {"TURN_DEG": 0.0, "QUARTER_TURN_SHARE": 0.0, "FLIP_ROWS_SHARE": 0.0, "SHIFT": 0.0, "STRETCH": 0.0}
    for name, value in {**still, "SCALE_RANGE": (1.0, 1.0), "VOLUME_SCALE_SHARE": 0.0}.items():
        monkeypatch.setattr(augment, name, value)
    centre = (STORED - 1) / 2
    made = placed(slices(discs(60, (30, 44))), torch.ones(60), INPUT)
    row, column = middle(made.images).T
    scale = INPUT * CONTEXT / STORED
    expected = (30 - centre) * scale + (INPUT - 1) / 2
    assert row.tolist() == pytest.approx([expected] * 60, abs=0.3)
    assert (column - (INPUT - 1) / 2).abs().max() < 1.2, "mirrored left to right at most"


def test_a_volume_scale_shows_the_head_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "VOLUME_SCALE_SHARE", 1.0)
    marks = discs(100, (44, 44), 12)
    whole, small = (placed(slices(marks), torch.full((100,), scale), INPUT) for scale in (1.0, 0.5))
    ratio = small.images.sum((1, 2, 3)).mean() / whole.images.sum((1, 2, 3)).mean()
    assert float(ratio) == pytest.approx(0.25, rel=0.15)


@pytest.mark.parametrize("change", [augmented, ct_augmented])
def test_what_is_known_of_a_slice_is_not_lost(change: object) -> None:
    raw = slices(heads(12), None, [0, 1, UNLABELLED] * 4, [True, False, False] * 4)
    made = change(raw, torch.ones(12), INPUT)  # type: ignore[operator]
    assert torch.equal(made.tumour, raw.tumour), "no lesion is at hand to be pasted"
    assert torch.equal(made.classes, raw.classes)
    assert torch.equal(made.masked, raw.masked)
    assert made.images.shape == (12, 1, INPUT, INPUT)
    assert 0 <= float(made.images.min()) <= float(made.images.max()) <= 1
    assert made.images.isfinite().all()


@pytest.mark.parametrize("change", [augmented, ct_augmented])
def test_one_seed_gives_one_batch(change: object) -> None:
    raw, made = slices(heads(8), discs(8), [1] * 8, [True] * 8), []
    for _ in range(2):
        torch.manual_seed(4)
        made.append(change(raw, torch.ones(8), INPUT))  # type: ignore[operator]
    assert torch.equal(made[0].images, made[1].images)
    assert torch.equal(made[0].masks, made[1].masks)


def test_the_input_is_left_as_it_was() -> None:
    raw = slices(heads(30), discs(30), [0, 1] * 15, [True] * 30)
    before = raw.images.clone(), raw.masks.clone(), raw.tumour.clone()
    augmented(raw, torch.ones(30), INPUT)
    assert all(torch.equal(a, b) for a, b in zip(before, (raw.images, raw.masks, raw.tumour), strict=True))


def half(count: int) -> Slices:
    """Tumour-free slices, then ones with a lesion."""
    lesions = discs(count, (44, 50), 8)
    lesions[: count // 2] = 0
    pictures = torch.where(lesions > 0, 0.9, heads(count))
    return slices(pictures, lesions, [0] * (count // 2) + [1] * (count - count // 2), [True] * count)


def test_a_pasted_lesion_comes_with_its_mask_and_label() -> None:
    raw = half(400)
    made = augment._pasted(raw)
    changed = (made.images - raw.images).abs().amax((1, 2, 3)) > 0.1
    pasted = (made.tumour == 1) & (raw.tumour == 0)
    assert 0.08 < float(pasted[:200].float().mean()) < 0.16, "about LESION_PASTE_SHARE of the tumour-free"
    assert changed[pasted].all()
    assert (made.masks[pasted] == raw.masks[-1]).all()
    assert (made.classes[pasted] == UNLABELLED).all()
    assert not changed[200:].any(), "slices with a tumour get no other one"


def test_healthy_tissue_is_pasted_as_often_so_that_pasting_is_no_sign() -> None:
    raw = half(400)
    raw.images[:100] *= 0.7  # so that tissue of another slice shows
    made = augment._pasted(raw)
    free = made.tumour[:200] == 0
    edited = (made.images - raw.images)[:200].abs().amax((1, 2, 3)) > 0.02
    assert 0.05 < float((edited & free).float().mean()) < 0.2
    assert not made.masks[:200][free].any()


def test_no_lesion_is_pasted_at_the_rim_of_a_head() -> None:
    raw = half(200)
    rim = Slices(raw.images, raw.masks, torch.full_like(raw.depths, 3.0), raw.tumour, raw.classes, raw.masked)
    assert torch.equal(augment._pasted(rim).tumour, raw.tumour)


def test_slices_of_which_no_mask_is_known_get_no_lesion() -> None:
    raw = half(200)
    unknown = Slices(
        raw.images, raw.masks, raw.depths, raw.tumour, raw.classes, torch.zeros(200, dtype=torch.bool)
    )
    assert augment._pasted(unknown) is unknown


def test_a_head_is_stripped_only_where_that_spares_the_lesion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "STRIP_SHARE", 1.0)
    y, x = np.mgrid[:STORED, :STORED]
    depth = torch.from_numpy((44 - np.hypot(y - 44, x - 44)).clip(0)).float().expand(2, 1, -1, -1)
    images = torch.ones(2, 1, STORED, STORED)
    deep, shallow = discs(1, (44, 44), 5), discs(1, (44, 4), 3)
    known = torch.ones(2, dtype=torch.long)
    raw = Slices(images, torch.stack([deep, shallow]), depth, known, known, known.bool())
    made = augment._stripped(raw)
    assert (made.images[0, 0, 44, :4] == 0).all()
    assert made.images[0, 0, 44, 44] == 1
    assert torch.equal(made.images[1], images[1])


def test_a_grey_curve_is_linear_between_its_points() -> None:
    curve = torch.tensor([[0.0, 0.2, 1.0]])
    grey = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).view(1, 1, 1, 5)
    assert augment._through_curve(grey, curve).flatten().tolist() == pytest.approx([0, 0.1, 0.2, 0.6, 1.0])


def test_the_straight_curve_changes_nothing() -> None:
    images = torch.rand(3, 1, 8, 8)
    straight = torch.linspace(0, 1, 7).expand(3, -1)
    torch.testing.assert_close(augment._through_curve(images, straight), images)


def test_the_range_is_that_of_run_time() -> None:
    ramp = torch.linspace(0.3, 0.6, STORED * STORED).view(1, 1, STORED, STORED).expand(50, -1, -1, -1)
    made = ranged(ramp)
    assert made.amin((1, 2, 3)).max() == 0
    brightest = made.amax((1, 2, 3))
    assert 0.84 < float(brightest.min()) < float(brightest.max()) <= 1.0


def test_a_flat_slice_stays_finite() -> None:
    assert ranged(torch.full((4, 1, 16, 16), 0.4)).isfinite().all()


def test_blur_takes_detail_and_keeps_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "BLUR_SHARE", 1.0)
    grain = torch.rand(10, 1, 64, 64)
    made = blurred(grain)
    assert (made.std((1, 2, 3)) < 0.8 * grain.std((1, 2, 3))).all()
    torch.testing.assert_close(made.mean((1, 2, 3)), grain.mean((1, 2, 3)), atol=0.01, rtol=0)
    monkeypatch.setattr(augment, "BLUR_SHARE", 0.0)
    assert torch.equal(blurred(grain), grain)


def test_noise_is_given_to_its_share_of_the_slices() -> None:
    level = augment.noise_level(4000, 0.07, 0.4).flatten()
    assert float((level > 0).float().mean()) == pytest.approx(0.4, abs=0.03)
    assert float(level.max()) <= 0.07


def test_evenly_spread_logarithms_lie_between_their_bounds() -> None:
    drawn = augment.log_uniform(5000, 0.5, 2.0)
    assert 0.5 <= float(drawn.min()) < 0.52
    assert 1.95 < float(drawn.max()) <= 2.0
    assert float(drawn.log().mean()) == pytest.approx(0.0, abs=0.03)


def test_ct_grey_levels_keep_their_order_and_air_stays_black() -> None:
    ramp = torch.linspace(0, 1, 100).view(1, 1, 1, 100).expand(300, -1, -1, -1)
    made = augment_ct._windowed(ramp)
    assert (made.diff(dim=-1) >= 0).all(), "bright stays brighter than dark, whatever the window"
    assert (made[..., 0] == 0).all()


def test_cupping_changes_the_head_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_ct, "CUPPING_SHARE", 1.0)
    images = heads(20)[:, None]
    change = (augment_ct._cupped(images) - images).abs()
    assert (change[images == 0] == 0).all()
    assert float(change.max()) <= 2 * augment_ct.CUPPING
    rim, centre = change[:, 0, 44, 12].mean(), change[:, 0, 44, 44].mean()
    assert rim > 10 * centre


def test_a_turn_keeps_distances() -> None:
    matrix = augment._affine(torch.ones(500))[:, :, :2]
    area = torch.linalg.det(matrix).abs()
    low, high = (1 / (CONTEXT * scale) ** 2 for scale in reversed(augment.SCALE_RANGE))
    assert (area > low * 0.999).all()
    assert (area < high * 1.001).all()
    assert math.isclose(float((torch.linalg.det(matrix) < 0).float().mean()), 0.5, abs_tol=0.1)
