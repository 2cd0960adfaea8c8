"""What no slice shows is measured on all stacks of a space together, and on no stacks of another."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from neurotriage.core.values import Analysis, Outcome, ReasonCode
from neurotriage.dicom.manifest import scan_folder
from neurotriage.phantom import make_study
from tests.eligibility.rule import RULE
from tests.selection.site import rule, rules_of
from tests.vision.synthetic import ood_limits, write_weights
from worker.analysis import analyse, select_series
from worker.selection import BUILT_IN_ALONE, SiteRules
from worker.selection.ranking import MAX_SERIES
from worker.vision import load_models, read_registry

# Random weights say one half of everything, so the rule alone makes the answer: no tumour, and a head.
NO_TUMOUR = {"low": 1.1, "high": 1.2, "certain": 1.3, "head_probability": 0.0, **ood_limits(2.0)}
STUDY, FRAME, FIRST, SECOND = "2.25.100", "2.25.9", "2.25.201", "2.25.202"
ONE_DEGREE = (1.0, 0.0, 0.0, 0.0, float(np.cos(np.deg2rad(1))), float(np.sin(np.deg2rad(1))))
COARSE, FINE = (96, 96), (112, 112)  # matrices of one field of view, so of other pixel sizes


def _draw(
    folder: Path,
    places_mm: Sequence[float],
    series: str = FIRST,
    frame: str | None = FRAME,
    **choices: object,
) -> list[Path]:
    """A series of slices 5 mm thick; the paths ascend along their normal."""
    header = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": series, "BodyPartExamined": "HEAD"}
    made = make_study(
        folder,
        offsets_mm=places_mm,
        header={**header, **({"FrameOfReferenceUID": frame} if frame else {})},
        without=() if frame else ("FrameOfReferenceUID",),
        **{"shape": COARSE, **choices},  # type: ignore[arg-type]
    )
    return [instance.path for series_made in made.manifest.series for instance in series_made.instances]


def _join(paths: Sequence[Path], series: str) -> None:
    """Move images into another series, behind its own."""
    for path in paths:
        dataset = dcmread(path)
        dataset.SeriesInstanceUID = series
        dataset.InstanceNumber += 100
        dataset.save_as(path)


def _damage(paths: Sequence[Path]) -> None:
    for path in paths:
        dataset = dcmread(path)
        dataset.PixelData = dataset.PixelData[:100]
        dataset.save_as(path)


def _answer(folder: Path, rules: SiteRules = BUILT_IN_ALONE) -> Analysis:
    weights = folder.with_name(f"{folder.name}-weights")
    weights.mkdir()
    write_weights(weights, **{**NO_TUMOUR, "coverage_mm": 50.0})
    (study,) = scan_folder(folder).studies
    analysis, _ = analyse(
        select_series(study, RULE, rules),
        read_registry(weights).modalities,
        lambda: load_models(weights, threads=1),
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    return analysis


def _steps(first: float, count: int) -> list[float]:
    return [first + 5.0 * step for step in range(count)]


@pytest.mark.parametrize("above", [{"shape": FINE}, {"orientation": ONE_DEGREE}], ids=["pixel size", "tilt"])
@pytest.mark.parametrize("one_series", [True, False], ids=["one series", "two series"])
@pytest.mark.parametrize(("hole_mm", "outcome"), [(30.0, Outcome.UNDETERMINED), (5.0, Outcome.ABSENT)])
def test_a_hole_between_two_grids_is_one_as_in_a_grid(
    tmp_path: Path, above: dict[str, object], one_series: bool, hole_mm: float, outcome: Outcome
) -> None:
    folder = tmp_path / "study"
    _draw(folder / "below", _steps(-65.0, 10))
    upper = _draw(folder / "above", _steps(-15.0 + hole_mm, 9), SECOND, **above)
    if one_series:
        _join(upper, FIRST)
    analysis = _answer(folder)
    assert sorted(len(row.slices) for row in analysis.series) == [9, 10]
    assert analysis.outcome is outcome
    if outcome is Outcome.UNDETERMINED:
        assert [reason.code for reason in analysis.reasons] == [ReasonCode.PART_NOT_ANALYSED]
        assert " mm lie between two of them" in analysis.reasons[0].text


def test_a_hole_between_two_grids_that_a_third_series_shows_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    _draw(folder / "below", _steps(-65.0, 10))
    _join(_draw(folder / "above", _steps(15.0, 9), SECOND, shape=FINE), FIRST)
    _draw(folder / "between", _steps(-20.0, 8), "2.25.203")
    assert _answer(folder).outcome is Outcome.ABSENT


@pytest.mark.parametrize(("lost", "outcome"), [(2, Outcome.UNDETERMINED), (1, Outcome.ABSENT)])
def test_damaged_slices_between_two_grids_hide_what_lies_between_these(
    tmp_path: Path, lost: int, outcome: Outcome
) -> None:
    folder = tmp_path / "study"
    lower = _draw(folder / "below", _steps(-65.0, 13))
    _join(_draw(folder / "above", _steps(0.0, 12), SECOND, orientation=ONE_DEGREE), FIRST)
    _damage(lower[-lost:])
    analysis = _answer(folder)
    assert sorted(len(row.slices) for row in analysis.series) == sorted([12, 13 - lost])
    assert analysis.outcome is outcome


@pytest.mark.parametrize(
    ("frames", "outcome"),
    [
        ((FRAME, FRAME), Outcome.ABSENT),
        ((FRAME, "2.25.10"), Outcome.UNDETERMINED),
        ((None, None), Outcome.UNDETERMINED),
        ((FRAME, None), Outcome.UNDETERMINED),
    ],
    ids=["one frame", "two frames", "none stated", "one stated"],
)
def test_only_a_series_in_the_same_stated_frame_makes_up_for_damaged_slices(
    tmp_path: Path, frames: tuple[str | None, str | None], outcome: Outcome
) -> None:
    folder = tmp_path / "study"
    first = _draw(folder / "first", _steps(-65.0, 27), FIRST, frames[0])
    _draw(folder / "second", _steps(-65.0, 27), SECOND, frames[1])
    _damage(first[-3:])
    assert _answer(folder).outcome is outcome


@pytest.mark.parametrize(("more", "outcome"), [(4, Outcome.UNDETERMINED), (1, Outcome.ABSENT)])
def test_what_a_sites_preference_keeps_out_counts_as_what_its_refusal_does(
    tmp_path: Path, more: int, outcome: Outcome
) -> None:
    """Four preferred series, and one that shows ``more`` slices at the vertex."""
    folder = tmp_path / "study"
    for number in range(MAX_SERIES):
        for path in _draw(folder / str(number), _steps(-65.0, 27 - more), f"2.25.30{number}"):
            dataset = dcmread(path)
            dataset.SeriesDescription = "AX FLAIR partial"
            dataset.save_as(path)
    _draw(folder / "whole", _steps(-65.0, 27), "2.25.399")
    rules = rules_of(rule('tag = "SeriesDescription", equals = "AX FLAIR partial"', "prefer"))
    analysis = _answer(folder, rules)
    (kept_out,) = [v for v in analysis.verdicts if not v.taken]
    assert kept_out.reason.code is ReasonCode.LOWER_RANK
    assert analysis.outcome is outcome
    if outcome is Outcome.UNDETERMINED:
        assert f"{more} images lie where nothing was analysed" in analysis.reasons[0].text
