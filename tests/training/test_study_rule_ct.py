"""The CT study rule: series with a mass at a known place, and what is chosen on them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neurotriage.core.volume import Volume
from tests.vision.synthetic import ct_head, predictions, rule
from training.release.scored_series import ScoredSeries, figure
from training.release.study_rule import write
from training.release.study_rule_ct import LabelledSeries, choose, summary
from training.synthetic_ct.series import BLEED, HEALTHY, MASS, hounsfield, in_air, scan, with_noise
from training.synthetic_ct.solid_masses import KINDS, room_of, with_solid_mass
from worker.vision.network import CT_CLASSES
from worker.vision.registry import StudyRule
from worker.vision.series.decide import decide_series
from worker.vision.slices.sections import measure_sections
from worker.vision.slices.window import brain_window

START = rule(head_probability=0.5, outer_weight=0.7, mimic=0.2)


def known(
    tumour: float, mimic: float = 0.0, *, kind: str = HEALTHY, diameter_mm: float = 0.0
) -> LabelledSeries:
    """A series whose slices all have one score."""
    stack = ct_head(shape=(8, 40, 48), spacing_mm=(5.0, 4.0), step_mm=20.0)
    said = predictions(np.full(8, tumour))
    said = replace(said, classes=np.tile([1 - mimic, mimic, 0.0], (8, 1)))
    seen = ScoredSeries(kind, kind == MASS, stack, said, measure_sections(stack), 0.1, CT_CLASSES)
    return LabelledSeries(seen, kind, diameter_mm)


def mass(tumour: float, diameter_mm: float = 30.0) -> LabelledSeries:
    return known(tumour, kind=MASS, diameter_mm=diameter_mm)


def outcomes(series: list[LabelledSeries], chosen: StudyRule) -> list[str]:
    return [decide_series(one.series.score(chosen), chosen)[0].value for one in series]


def test_where_scores_lie_apart_no_healthy_series_is_present_and_no_plain_mass_absent() -> None:
    healthy, masses = [known(p) for p in (0.02, 0.1, 0.2, 0.3)], [mass(p) for p in (0.6, 0.9, 0.99)]
    chosen = choose([*healthy, *masses, known(0.2, 0.9, kind=BLEED)], START)
    assert set(outcomes(healthy, chosen)) == {"absent"}
    assert "absent" not in outcomes(masses, chosen)
    assert chosen.outer_weight < chosen.high
    assert chosen.low <= 0.5 <= chosen.high


def test_where_scores_overlap_few_healthy_series_become_doubtful() -> None:
    healthy, masses = [known(p) for p in np.linspace(0.1, 0.9, 20)], [mass(p) for p in (0.05, 0.95)]
    chosen = choose([*healthy, *masses, known(0.2, kind=BLEED)], START)
    assert "present" not in outcomes(healthy, chosen)
    assert outcomes(healthy, chosen).count("undetermined") <= 6


def test_a_small_mass_does_not_lower_the_threshold() -> None:
    series = [known(0.1), mass(0.6), known(0.1, kind=BLEED)]
    assert choose([*series, mass(0.01, diameter_mm=12)], START).low == choose(series, START).low


def test_most_healthy_series_are_no_look_alike_and_a_bleed_is_one() -> None:
    healthy = [known(0.1, 0.02 * n) for n in range(20)]
    bleed = known(0.1, 0.9, kind=BLEED)
    chosen = choose([*healthy, mass(0.8), bleed], START)
    assert outcomes(healthy, chosen).count("undetermined") <= 2
    assert outcomes([bleed], chosen) == ["undetermined"]


def test_the_table_counts_what_must_not_happen() -> None:
    chosen = choose([known(0.1), mass(0.9), known(0.2, kind=BLEED)], START)
    one = mass(0.9)
    rows = [figure(one.series, chosen) | {"kind": MASS, "diameter_mm": 30}]
    assert [line for line in summary(rows) if "20 mm or more" in line] == [
        f"mass of 20 mm or more: {{'{rows[0]['outcome']}': 1}}"
    ]


def test_a_new_rule_leaves_those_of_other_models_alone(tmp_path: Path) -> None:
    path = tmp_path / "study_rule.json"
    path.write_text('{"rules": {"MR": {"low": 0.5}}, "light": {"MR": {"low": 0.4}}}')
    write(path, "CT", START, [])
    kept = json.loads(path.read_text())
    assert kept["rules"].pop("CT")["mimic"] == START.mimic
    assert kept.pop("eligibility"), "a file without that part gets the release's"
    assert kept == {"rules": {"MR": {"low": 0.5}}, "light": {"MR": {"low": 0.4}}}


@pytest.fixture(scope="module")
def head() -> Volume:
    return ct_head(shape=(24, 96, 112), spacing_mm=(2.0, 1.8), step_mm=6.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mass_of_the_right_size_lies_in_the_brain_over_neighbouring_slices(head: Volume, kind: str) -> None:
    room = room_of(head)
    made = with_solid_mass(head, room, np.random.default_rng(3), 30.0, kind)
    assert made is not None
    volume, region = made
    assert not (region & ~room.brain).any()
    ball_mm3 = np.pi / 6 * 30.0**3
    assert 0.5 * ball_mm3 < region.sum() * np.prod(room.spacing_mm) < 1.6 * ball_mm3
    rows = np.flatnonzero(region.any((1, 2)))
    assert (np.diff(rows) == 1).all()
    assert len(rows) >= 3
    changed = np.abs(volume.voxels - head.voxels)
    assert changed[region].mean() > 2
    assert changed[~room.brain].mean() < 0.05 * changed[region].mean()


def test_a_scan_is_another_person_with_the_thickness_of_a_scanner(head: Volume) -> None:
    random = np.random.default_rng(1)
    scans = [with_noise(scan(head, random), random) for _ in range(2)]
    for made in scans:
        assert 2.5 <= made.thickness_mm <= 5.0
        assert np.allclose(np.diff(made.positions_mm[:, 2]), made.thickness_mm)
        sections = measure_sections(made)
        assert sections.area_mm2.max() == pytest.approx(np.pi * 68**2, rel=0.3)
        assert sections.shares[-1] < 0.05, "it ends above the vertex"
    assert scans[0].voxels.shape != scans[1].voxels.shape


def test_a_brain_taken_out_of_its_head_lies_in_air() -> None:
    stripped = ct_head(skull=False)
    stored = replace(stripped, voxels=np.where(stripped.voxels < -500, 0, stripped.voxels))
    made = in_air(stored)
    np.testing.assert_array_equal(made.voxels < -500, stripped.voxels < -500)
    assert in_air(stripped) is stripped


def test_a_picture_in_the_brain_window_comes_back_through_the_window() -> None:
    grey = np.zeros((20, 20), np.uint8)
    grey[5:15, 5:15] = 128
    grey[9:11, 9:11] = 0
    values = hounsfield(grey)
    assert values[0, 0] == -1000
    assert values[9, 9] == 0, "fluid inside is no air"
    np.testing.assert_allclose(brain_window(values) * 255, grey, atol=0.5)
