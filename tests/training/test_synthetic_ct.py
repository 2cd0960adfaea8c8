"""CT training: masses and look-alikes in slices, and the window through which CT is seen."""

import numpy as np
import pytest
import torch

from neurotriage.core.values import Plane, SliceSource
from neurotriage.core.volume import Volume
from training.data.manifest import Row
from training.data.samples import STORED_PX, UNLABELLED
from training.evaluation.synthetic_masses import CtScores, mass_against_bleeds, with_against_without
from training.fit.augment import Slices
from training.fit.augment_ct import ct_augmented
from training.synthetic_ct.hosts import Host, end_sections, host, sections
from training.synthetic_ct.lesions import MrLesion, placed_lesion
from training.synthetic_ct.masses import FAINTEST_HU, grey, with_lesion, with_mass
from training.synthetic_ct.mimics import harmless, mimic
from training.synthetic_ct.samples import HEALTHY, MIMIC, TUMOUR, CtCase, cases_of, cell_shares
from worker.vision.network import CLASSES_OF
from worker.vision.slices.window import brain_window

pytestmark = pytest.mark.unit


@pytest.fixture
def head() -> Host:
    """A drawn head: scalp, skull, brain with grain, two dark ventricles."""
    return host(_drawn(ventricles=True), "drawn", "drawn")


def _drawn(*, ventricles: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    y, x = np.mgrid[:220, :200]
    radius = np.hypot((y - 110) / 95, (x - 100) / 78)
    picture = np.where(radius < 1, 60.0, 0.0)
    picture[(radius < 0.96) & (radius > 0.86)] = 255
    brain = radius <= 0.86
    picture[brain] = 110 + np.random.default_rng(0).normal(0, 6, picture.shape)[brain]
    if ventricles:
        picture[(np.abs(y - 105) < 18) & (np.abs(np.abs(x - 100) - 10) < 5)] = 50
    return np.clip(picture, 0, 255).astype(np.uint8)


def _ball() -> Volume:
    """A brain of 40 HU in a shell of bone in air; 20 slices 8 mm apart, pixels of 3 mm."""
    z, y, x = np.mgrid[-76:77:8, -96:97:3, -96:97:3]
    radius = np.sqrt(z**2 + y**2 + x**2)
    voxels = np.where(radius < 85, 900.0, -1000.0)
    voxels[radius < 76] = 40.0
    return Volume(
        series_instance_uid="1.2.3",
        modality="CT",
        description="",
        voxels=voxels.astype(np.float32),
        row_direction=np.array([1.0, 0.0, 0.0]),
        column_direction=np.array([0.0, 1.0, 0.0]),
        pixel_spacing_mm=(3.0, 3.0),
        positions_mm=np.array([[-96.0, -96.0, 8.0 * i] for i in range(len(voxels))]),
        thickness_mm=8.0,
        plane=Plane.AXIAL,
        sources=tuple(SliceSource(f"1.2.3.{i}", None, i) for i in range(len(voxels))),
        sequence="CT",
    )


def _row(tumour: bool | None, source: str, label: str = "unknown") -> Row:
    return Row(None, None, "CT", ("CT",), "axial", label, tumour, None, source, source, "train", source)  # type: ignore[arg-type]


def test_the_brain_is_what_lies_inside_the_skull(head: Host) -> None:
    assert head.has_brain
    assert head.brain[STORED_PX // 2, STORED_PX // 2]
    assert not (head.brain & (head.picture > 0.9)).any()
    assert head.inside_px.max() > 30


def test_a_slice_without_enough_brain_gets_no_mass() -> None:
    flat = host(np.zeros((100, 100), np.uint8), "empty", "empty")
    cases = list(cases_of(flat, np.random.default_rng(0), 3, 2))
    assert [case.kind for case in cases] == ["no brain"]


@pytest.mark.parametrize("seed", range(12))
def test_a_mass_lies_in_the_brain_and_leaves_border_and_skull_as_they_are(head: Host, seed: int) -> None:
    made = with_mass(head, np.random.default_rng(seed))
    assert made is not None
    picture, mass = made
    assert mass.sum() >= 12
    assert not (mass & ~head.brain).any()
    assert picture.min() >= 0
    assert picture.max() <= 1
    outside = ~head.brain
    assert np.abs(picture - head.picture)[outside].mean() < 0.005
    assert np.abs(picture - head.picture)[head.brain].mean() > 0.001


def test_look_alikes_and_harmless_changes_change_the_brain_only(head: Host) -> None:
    random = np.random.default_rng(1)
    made = [mimic(head, random) for _ in range(30)]
    assert sum(picture is not None for picture in made) > 20
    for picture in (*made, harmless(head, random)):
        if picture is not None:
            assert picture.shape == head.picture.shape
            assert np.isfinite(picture).all()
            assert not np.array_equal(picture, head.picture)


def test_each_slice_is_served_with_and_without_a_mass(head: Host) -> None:
    cases = list(cases_of(head, np.random.default_rng(0), 3, 2))
    kinds = [case.kind for case in cases]
    assert kinds.count("plain") == kinds.count("harmless") == 1
    assert kinds.count("mass") == 3
    assert [case.tumour for case in cases] == [kind == "mass" for kind in kinds]
    assert all(case.mass.any() == case.tumour for case in cases)


def test_volumes_are_cut_through_the_brain_and_beyond_it() -> None:
    volume = _ball()
    through = list(sections(volume, 3, np.random.default_rng(0), "ball"))
    beyond = list(end_sections(volume, 12, np.random.default_rng(0), "ball"))
    assert len(through) == 3
    assert all(found.has_brain for found in through)
    assert beyond
    kinds = {case.kind for found in beyond for case in cases_of(found, np.random.default_rng(0), 1, 1)}
    assert kinds == {"no brain"}


def test_classes_say_no_more_than_the_labels() -> None:
    picture = _drawn(ventricles=True)

    def labels(row: Row) -> dict[str, int]:
        cases = cases_of(host(picture, row.source, row.group, row), np.random.default_rng(0), 1, 2)
        return {case.kind: case.label for case in cases}

    healthy = labels(_row(False, "brainstroke-normal", "healthy"))
    assert (healthy["plain"], healthy["mass"], healthy["look_alike"]) == (HEALTHY, TUMOUR, MIMIC)
    bleed = labels(_row(False, "headct-haemorrhage"))
    assert (bleed["plain"], bleed["mass"]) == (MIMIC, UNLABELLED)
    assert labels(_row(False, "brainstroke-bleed"))["plain"] == UNLABELLED
    assert labels(_row(True, "ctmr-tumour-pair")) == {"real": TUMOUR}


def test_every_source_is_drawn_with_as_many_masses_as_plain_slices() -> None:
    shares = cell_shares()
    for source in {source for source, kind in shares if kind != "real"}:
        assert shares[source, "mass"] == pytest.approx(
            shares[source, "plain"] + shares[source, "harmless"], rel=0.1
        )


def test_augmented_slices_stay_in_range_and_black_stays_black(head: Host) -> None:
    torch.manual_seed(0)
    count = 24
    zeros = torch.zeros(count, dtype=torch.long)
    picture = torch.from_numpy(head.picture).expand(count, 1, -1, -1)
    raw = Slices(picture, torch.zeros_like(picture), torch.ones_like(picture), zeros, zeros, zeros.bool())
    made = ct_augmented(raw, torch.ones(count), 64).images
    assert made.shape == (count, 1, 64, 64)
    assert made.min() >= 0
    assert made.max() <= 1
    corners = made[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.median() == 0


def test_the_window_maps_hounsfield_units_as_displays_do() -> None:
    seen = brain_window(np.array([-1024, 0, 40, 80, 1500]))
    assert seen.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_figures_compare_the_same_slices_with_and_without(head: Host) -> None:
    nothing = np.zeros(head.picture.shape, bool)
    kinds = ("plain", "mass", "mass", "look_alike")
    cases = tuple(CtCase(head, kind, head.picture, nothing) for kind in kinds)
    found = CtScores(cases, np.array([0.0, 1.0, -1.0, -2.0]), np.full((4, 3), 1 / 3), np.full((4, 9), np.nan))
    assert with_against_without(found) == {"drawn": 0.5}
    assert mass_against_bleeds(found) == 1.0


def test_ct_and_mr_classes_fit_the_same_network() -> None:
    assert len({len(names) for names in CLASSES_OF.values()}) == 1
    assert CLASSES_OF["CT"][MIMIC] == "look_alike"


def _lesion(water: bool = True) -> MrLesion:
    """A disc left of the middle, wetter to one side."""
    y, x = np.mgrid[:STORED_PX, :STORED_PX]
    region = np.hypot(y - 80, x - 60) < 14
    return MrLesion(region, np.where(region, (x - 46) * 9, 0).clip(0, 255).astype(np.uint8), water)


def test_a_lesion_keeps_about_its_size_wherever_it_is_placed() -> None:
    random = np.random.default_rng(1)
    for inside in (True, False):
        shape, texture = placed_lesion(_lesion(), random, inside)
        assert 0.4 < (shape > 0.5).sum() / _lesion().region.sum() < 1.8
        assert texture[shape < 0.01].max() < 0.05


def test_a_mass_with_a_real_shape_is_seen_and_lies_in_the_brain(head: Host) -> None:
    random = np.random.default_rng(2)
    made = [with_lesion(head, _lesion(water), random) for water in (True, False) for _ in range(20)]
    seen = [pair for pair in made if pair is not None]
    assert 20 < len(seen) < 40  # the faintest are refused
    for picture, region in seen:
        assert not (region & ~head.brain).any()
        assert np.abs(picture - head.picture)[region].mean() >= grey(FAINTEST_HU) * 0.99


def test_water_is_darker_than_brain(head: Host) -> None:
    made = [with_lesion(head, _lesion(), np.random.default_rng(seed)) for seed in range(6)]
    seen = [pair for pair in made if pair is not None]
    assert seen
    for picture, region in seen:
        assert picture[region].mean() < np.median(head.picture[head.brain])
