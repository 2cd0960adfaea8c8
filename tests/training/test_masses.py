"""Synthetic masses and their mimics: where they lie, and that their truth covers them and nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from neurotriage.core.volume import Volume
from tests.training.drawn import ct_picture, row
from tests.vision.synthetic import ct_head
from training.data.samples import STORED_PX, UNLABELLED
from training.synthetic_ct import masses, mimics
from training.synthetic_ct.hosts import STORED_MM, brain_of, host, hosts_of
from training.synthetic_ct.masses import (
    DIAMETER_MM,
    INSIDE_SHARE,
    KIND_SHARES,
    KINDS,
    LARGEST_SHARE,
    Blob,
    displaced,
    fits,
    grey,
    placed_blob,
    with_mass,
)
from training.synthetic_ct.mimics import harmless, mimic
from training.synthetic_ct.samples import (
    BLEEDS,
    HEALTHY,
    MIMIC,
    TUMOUR,
    CtCase,
    cases_of,
    ct_stock,
)
from training.synthetic_ct.solid_masses import KINDS as SOLID_KINDS
from training.synthetic_ct.solid_masses import room_of, with_solid_mass

pytestmark = pytest.mark.unit

SEEDS = st.integers(0, 10_000)
HEAD = host(ct_picture(), "drawn", "drawn")  # hypothesis wants no fixture that is made anew
SOLID = ct_head(shape=(20, 72, 84), spacing_mm=(2.4, 2.2), step_mm=6.0)
ROOM = room_of(SOLID)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_a_mass_stays_inside_the_brain_and_its_mask_covers_it(seed: int) -> None:
    made = with_mass(HEAD, rng(seed))
    if made is None:
        return
    picture, region = made
    assert picture.shape == region.shape == HEAD.picture.shape
    assert picture.dtype == np.float32
    assert not (region & ~HEAD.brain).any()
    assert 0 < region.sum() < HEAD.brain.sum() / 2
    assert 0 <= picture.min() <= picture.max() <= 1


def density_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without displacement and oedema, which change tissue around a mass, the mass alone is left."""
    monkeypatch.setattr(masses, "displaced", lambda host, *_: host.picture)
    monkeypatch.setattr(masses, "_oedema", lambda host, *_: np.zeros_like(host.picture))


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_covers_the_pixels_that_the_mass_changed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    density_alone(monkeypatch)
    monkeypatch.setattr(masses, "KIND_SHARES", tuple(float(other == kind) for other in KINDS))
    made = [pair for pair in (with_mass(HEAD, rng(seed)) for seed in range(6)) if pair is not None]
    assert made
    for picture, region in made:
        changed = np.abs(picture - HEAD.picture)
        near = masses.soft_edge(region, 2.0) > 0.02
        assert changed[~near].max() < 0.01, "next to nothing is changed off the mask and its soft edge"
        assert changed[region].sum() > 0.6 * changed.sum()


def test_kinds_are_drawn_by_shares_that_sum_to_one() -> None:
    assert sum(KIND_SHARES) == pytest.approx(1.0)
    assert len(KIND_SHARES) == len(KINDS)


def test_densities_lie_where_textbooks_put_them() -> None:
    blob = placed_blob(HEAD, rng(0), 30.0)
    assert blob is not None
    inside = blob.region
    one_hu = grey(1.0)
    mean = {
        kind: [masses._density(blob, kind, rng(s))[inside].mean() / one_hu for s in range(20)]
        for kind in KINDS
    }
    assert min(mean["hyperdense"]) >= 7
    assert min(mean["meningioma"]) >= 7
    assert max(mean["hypodense"]) <= -6
    assert max(map(abs, mean["isodense"])) <= 4.001
    core = masses._density(blob, "ring", rng(1))
    assert core[inside].min() < 0 < core[inside].max(), "a dark core in a bright wall"


@pytest.mark.parametrize("diameter_mm", [15.0, 30.0, 45.0])
def test_a_mass_is_about_as_large_as_asked(diameter_mm: float) -> None:
    areas = [
        blob.region.sum() * STORED_MM**2
        for blob in (placed_blob(HEAD, rng(seed), diameter_mm) for seed in range(12))
        if blob is not None
    ]
    assert len(areas) > 6
    assert np.median(areas) == pytest.approx(np.pi / 4 * diameter_mm**2, rel=0.45)


@pytest.mark.parametrize("kind", KINDS)
def test_diameters_stay_within_their_range(kind: str) -> None:
    drawn = [masses._diameter_mm(kind, rng(seed)) for seed in range(200)]
    assert DIAMETER_MM[0] <= min(drawn) <= max(drawn) <= DIAMETER_MM[1]
    assert np.std(drawn) > 3


def disc(radius_px: float, at: tuple[int, int]) -> NDArray[np.float32]:
    y, x = np.mgrid[:STORED_PX, :STORED_PX]
    return (np.hypot(y - at[0], x - at[1]) < radius_px).astype(np.float32)


def test_an_outline_fits_where_it_lies_in_the_brain_and_leaves_most_of_it_free() -> None:
    centre = tuple(int(v) for v in np.argwhere(HEAD.brain).mean(0))
    assert fits(HEAD, disc(10, (centre[0], centre[1])))
    assert not fits(HEAD, disc(10, (2, 2))), "outside the head"
    assert not fits(HEAD, disc(60, (centre[0], centre[1]))), "larger than LARGEST_SHARE of the brain"
    assert not fits(HEAD, np.zeros_like(HEAD.picture))
    assert 0 < LARGEST_SHARE < INSIDE_SHARE <= 1


def test_tissue_at_the_skull_is_not_displaced() -> None:
    centre = np.argwhere(HEAD.brain).mean(0)
    level = disc(20, (int(centre[0]), int(centre[1])))
    blob = Blob(level, level > 0.5, (float(centre[0]), float(centre[1])), 20.0)
    change = np.abs(displaced(HEAD, blob, 0.5) - HEAD.picture)
    assert change[HEAD.picture > 0.95].mean() < 0.005
    assert change[HEAD.brain].max() > 0.1
    assert np.array_equal(displaced(HEAD, blob, 0.0), HEAD.picture)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_look_alikes_stay_in_range_and_change_no_air(seed: int) -> None:
    made = mimic(HEAD, rng(seed))
    if made is None:
        return
    assert 0 <= made.min() <= made.max() <= 1
    assert made.dtype == np.float32
    assert np.abs(made - HEAD.picture).max() > 0.01
    assert made[:3].max() < 0.2, "air stays dark"


@pytest.mark.parametrize(
    "maker", [mimics.parenchymal_bleed, mimics.extra_axial_bleed, mimics.subarachnoid_bleed]
)
def test_blood_is_brighter_than_brain(maker: object) -> None:
    level = np.median(HEAD.picture[HEAD.brain])
    made = [maker(HEAD, rng(seed)) for seed in range(8)]  # type: ignore[operator]
    drawn = [picture for picture in made if picture is not None]
    assert drawn
    for picture in drawn:
        changed = np.abs(picture - HEAD.picture) > 0.15
        assert picture[changed].mean() > level + grey(10)
        assert not changed[~HEAD.brain].any()


def test_an_infarct_is_darker_and_reaches_the_cortex() -> None:
    drawn = [p for p in (mimics.infarct(HEAD, rng(seed)) for seed in range(8)) if p is not None]
    assert drawn
    for picture in drawn:
        changed = (picture - HEAD.picture) < -grey(4)
        assert changed.sum() > 60
        assert HEAD.inside_px[changed & HEAD.brain].min() < 4


def test_harmless_changes_leave_a_brain_without_a_lesion() -> None:
    """The spread of grey levels inside the brain hardly changes, as it does with a mass or with blood."""
    spread = HEAD.picture[HEAD.brain].std()
    for seed in range(10):
        made = harmless(HEAD, rng(seed))
        assert made[HEAD.brain].std() == pytest.approx(spread, rel=0.25)
        assert made.min() >= -1e-6


@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, source=st.sampled_from(["drawn", BLEEDS, "brainstroke-bleed", "brainstroke-normal"]))
def test_only_masses_and_real_tumours_carry_the_label_of_a_tumour(seed: int, source: str) -> None:
    here = replace(HEAD, source=source)
    for case in cases_of(here, rng(seed), 2, 3):
        assert case.tumour is (case.kind == "mass")
        assert case.mass.any() is np.bool_(case.tumour)
        if case.label == TUMOUR:
            assert case.kind == "mass"
        if case.kind == "look_alike":
            assert case.label == MIMIC
        if case.kind in ("plain", "harmless"):
            assert case.label == (MIMIC if source == BLEEDS else HEALTHY)


@pytest.mark.parametrize(
    ("tumour", "kinds"), [(True, {"real"}), (None, {"real"}), (False, {"plain", "harmless"})]
)
def test_nothing_is_put_into_a_slice_that_may_show_a_tumour(tumour: bool | None, kinds: set[str]) -> None:
    real = replace(HEAD, row=row(tumour=tumour, modality="CT"))
    assert {case.kind for case in cases_of(real, rng(0), 0, 0)} == kinds


def test_a_disease_of_unknown_kind_has_no_class() -> None:
    nothing = np.zeros(HEAD.picture.shape, bool)
    unknown = replace(HEAD, row=row(tumour=False, label="unknown"), source="aanlib-pair")
    assert CtCase(unknown, "plain", HEAD.picture, nothing).label == UNLABELLED
    well = replace(unknown, row=row(tumour=False, label="healthy"))
    assert CtCase(well, "plain", HEAD.picture, nothing).label == HEALTHY


def test_a_stripped_brain_is_all_brain_and_an_empty_picture_none() -> None:
    inside = HEAD.brain.astype(np.float32) * 0.45
    assert brain_of(inside).sum() > 0.8 * HEAD.brain.sum()
    assert not brain_of(np.zeros_like(inside)).any()


def test_hosts_know_their_row(tmp_path: Path) -> None:
    Image.fromarray(ct_picture()).save(tmp_path / "a.png")
    (only,) = hosts_of([row(str(tmp_path / "a.png"), source="x", group="g", modality="CT", tumour=False)])
    assert (only.source, only.group, only.has_brain) == ("x", "g", True)
    assert only.row is not None
    assert np.array_equal(only.brain, HEAD.brain)


def test_the_stock_of_ct_holds_each_case_with_its_truth(tmp_path: Path) -> None:
    Image.fromarray(ct_picture()).save(tmp_path / "a.png")
    rows = [row(str(tmp_path / "a.png"), source="headct-normal", group="g", label="healthy", tumour=False)]
    stored = ct_stock(rows, tmp_path, seed=0)
    kinds = [kind for _, kind in stored.cells]
    assert kinds[0] == "plain"
    assert {"mass", "look_alike", "harmless"} <= set(kinds)
    ill = stored.tumour.bool()
    assert ill.tolist() == [kind == "mass" for kind in kinds]
    assert (stored.masks.amax((1, 2)) > 0).tolist() == ill.tolist()
    assert stored.masked.all()
    assert stored.series == ("g",) * len(kinds)
    again = ct_stock(rows, tmp_path, seed=0)
    assert np.array_equal(again.images.numpy(), stored.images.numpy())


@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, kind=st.sampled_from(SOLID_KINDS), diameter_mm=st.floats(16.0, 45.0))
def test_a_mass_in_a_series_stays_inside_the_brain_and_its_truth_covers_it(
    seed: int, kind: str, diameter_mm: float
) -> None:
    made = with_solid_mass(SOLID, ROOM, rng(seed), diameter_mm, kind)
    if made is None:
        return
    volume, region = made
    assert region.any()
    assert not (region & ~ROOM.brain).any()
    assert volume.voxels.shape == SOLID.voxels.shape
    assert np.isfinite(volume.voxels).all()
    assert volume.positions_mm is SOLID.positions_mm, "the geometry is that of the series"
    bone = np.asarray(SOLID.voxels) > 600
    assert np.abs(volume.voxels - SOLID.voxels)[bone].max() < 1, "the skull stays as it is"


def mean_change(volume: Volume, region: NDArray[np.bool_]) -> float:
    return float((volume.voxels - SOLID.voxels)[region].mean())


@pytest.mark.parametrize(("kind", "sign"), [("hyperdense", 1), ("hypodense", -1)])
def test_a_mass_in_a_series_is_denser_or_less_dense_as_its_kind_says(kind: str, sign: int) -> None:
    made = with_solid_mass(SOLID, ROOM, rng(5), 34.0, kind)
    assert made is not None
    assert sign * mean_change(*made) > 3


def test_where_there_is_no_brain_there_is_no_room_for_a_mass() -> None:
    tiny = replace(ROOM, brain=np.zeros_like(ROOM.brain))
    tiny.brain[10, 30:33, 30:33] = True
    inside = np.where(tiny.brain, np.float32(1), np.float32(0))
    assert with_solid_mass(SOLID, replace(tiny, inside_mm=inside), rng(0), 40.0, "hypodense") is None


def test_the_room_is_soft_tissue_inside_bone() -> None:
    voxels = np.asarray(SOLID.voxels)
    assert ROOM.brain.any()
    assert voxels[ROOM.brain].max() < 200
    assert voxels[ROOM.brain].min() > -100
    assert ROOM.inside_mm[~ROOM.brain].max() == 0
    assert ROOM.inside_mm.max() == pytest.approx(68, rel=0.1), "the radius of the drawn brain"
