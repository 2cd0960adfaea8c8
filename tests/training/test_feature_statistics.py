"""The distribution of features: its axes, its scales, and the file from which a worker reads it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from tests.training.drawn import row, write_both
from training.data.manifest import read
from training.fit.models import MODELS
from training.release.export import enter, written
from training.release.feature_statistics import (
    AXES,
    ROWS_PER_SOURCE,
    ct_inputs,
    feature_statistics,
    features,
    gaussian,
    mr_inputs,
    spread,
)
from worker.vision.engines import TORCH, open_engine
from worker.vision.engines.eager import folded
from worker.vision.feature_reference import FeatureReference
from worker.vision.network import SliceNet
from worker.vision.registry import read_cards
from worker.vision.registry.loading import load_network


def drawn_features(count: int = 800) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(count, 200) features: two strong directions, the rest faint; the second map's are far larger."""
    random = np.random.default_rng(0)
    known = random.normal(0, 0.1, (count, 200))
    known[:, 0] += random.normal(0, 3, count)
    known[:, 120] += random.normal(0, 2, count)
    known[:, 100:] *= 1000
    return (known + 5).astype(np.float32)


@pytest.mark.unit
def test_along_the_axes_and_beyond_them_training_slices_lie_about_one_away() -> None:
    known = drawn_features()
    distance = gaussian(known, (100, 100)).distance(known)
    assert np.sqrt(np.mean(distance**2)) == pytest.approx(np.sqrt(2), rel=0.05)
    assert distance.shape == (800,)


@pytest.mark.unit
def test_what_lies_off_the_distribution_is_far_in_any_direction() -> None:
    known = drawn_features()
    reference = gaussian(known, (100, 100))
    ordinary = np.percentile(reference.distance(known), 99)
    for channel in (0, 50, 120, 170):
        odd = known.mean(0).copy()
        odd[channel] += 40 * known[:, channel].std()
        assert reference.distance(odd[None])[0] > ordinary, channel


@pytest.mark.unit
def test_maps_of_different_size_weigh_alike() -> None:
    known = drawn_features()
    weights = gaussian(known, (100, 100)).weights
    spreads = [np.linalg.norm((known * weights)[:, part].std(0)) for part in (slice(0, 100), slice(100, 200))]
    assert spreads == pytest.approx([1.0, 1.0], rel=1e-3)


@pytest.mark.unit
def test_there_are_at_most_a_fixed_number_of_axes_and_they_are_at_right_angles() -> None:
    random = np.random.default_rng(1)
    reference = gaussian(random.normal(size=(400, 300)).astype(np.float32), (200, 100))
    axes = reference.axes.astype(np.float64)
    assert axes.shape == (AXES, 300)
    np.testing.assert_allclose(axes @ axes.T, np.eye(AXES), atol=5e-3)
    assert (np.diff(reference.deviations) <= 1e-6).all(), "the strongest comes first"


@pytest.mark.unit
def test_a_large_source_has_no_more_rows_than_a_small_one_may() -> None:
    rows = [row(f"{n}.png", source="large") for n in range(1000)] + [row("x.png", source="small")] * 3
    chosen = spread(rows)
    assert Counter(r.source for r in chosen) == {"large": ROWS_PER_SOURCE, "small": 3}
    large = [int(r.path.stem) for r in chosen if r.source == "large"]
    assert (large[0], large[-1]) == (0, 999), "spread over all of its list"


@pytest.mark.unit
def test_inputs_are_made_of_every_grey_image_and_of_ct_with_masses(tmp_path: Path) -> None:
    manifest = write_both(tmp_path)
    mr = mr_inputs(read(manifest, "MR").of_split("val"), manifest, 64)
    assert len(mr) == 6
    healthy = [r for r in read(manifest, "CT").of_split("val") if r.source == "headct-normal"]
    ct = ct_inputs(healthy, manifest, 64)
    assert len(ct) > 2, "the slice itself, and with something put into it"
    for picture in (*mr, *ct):
        assert picture.shape == (1, 64, 64)
        assert 0 <= picture.min() <= picture.max() <= 1


@pytest.mark.parametrize("model", ["light", "ct-light"])
def test_the_file_scales_distances_on_val(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.release.feature_statistics.AXES", 2)  # of the few slices here
    torch.set_num_threads(1)
    torch.manual_seed(0)
    manifest, weights = write_both(tmp_path), tmp_path / "weights"
    weights.mkdir()
    save_file(SliceNet(MODELS[model].architecture).state_dict(), tmp_path / "best.safetensors")
    enter(written(model, "1", 64, tmp_path / "best.safetensors", weights), weights)
    path = feature_statistics(manifest, model, weights)
    assert path == weights / f"{model}.features.safetensors"
    reference = FeatureReference(**load_file(path))
    assert 0 < reference.near < reference.far
    modality = MODELS[model].modality
    rows = spread(read(manifest, modality).of_split("val"))
    inputs = (ct_inputs if modality == "CT" else mr_inputs)(rows, manifest, 64)
    card = read_cards(weights).card(model)
    engine = open_engine(TORCH, folded(load_network(card, weights)), card, None, 1)
    distance = reference.distance(features(engine, inputs))
    assert reference.near.item() == pytest.approx(np.median(distance), rel=0.01)
    highest = np.percentile(distance, 99)
    assert (reference.far - reference.near).item() == pytest.approx(
        2 * (highest - np.median(distance)), rel=0.02
    )
