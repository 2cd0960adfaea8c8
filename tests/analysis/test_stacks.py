"""All stacks of a series are analysed and judged together; no part of a head is passed over in silence."""

from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from neurotriage.core.values import Analysis, Outcome, ReasonCode, Triage
from neurotriage.dicom.manifest import scan_folder
from tests.core.made import part10
from tests.eligibility.rule import RULE
from tests.imaging.made import SAGITTAL
from tests.vision.synthetic import ood_limits, write_weights
from tests.worker.studies import head_mr
from worker.analysis import analyse, select_series
from worker.results import build
from worker.vision import load_models, read_registry

# Random weights say one half of everything, so the rule alone makes the answer.
NO_TUMOUR = {"low": 1.1, "high": 1.2, "certain": 1.3, "head_probability": 0.0, **ood_limits(2.0)}
TUMOUR = {**NO_TUMOUR, "low": 0.1, "high": 0.2, "certain": 0.3, "outer_weight": 1.0}
_HALF_MM = 159 * 1.4 / 2  # of a picture of ``head_mr``


def _answer(folder: Path, datasets: list[Dataset], **rule: Any) -> Analysis:
    weights = folder / "weights"
    weights.mkdir()
    write_weights(weights, **{**NO_TUMOUR, **rule})
    for number, dataset in enumerate(datasets):
        dataset.SOPInstanceUID = f"2.25.8{number:03d}"
        (folder / f"{number}.dcm").write_bytes(part10(dataset))
    (study,) = scan_folder(folder).studies
    analysis, evidence = analyse(
        select_series(study, RULE),
        read_registry(weights).modalities,
        lambda: load_models(weights, threads=1),
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert build(analysis, evidence, study, "2.25.1").objects
    return analysis


def _turned(datasets: list[Dataset], which: slice, degrees: float = 5.0) -> list[Dataset]:
    """A block of slices turned about the middle of each, so that it meets the others in a wedge."""
    down = np.array([0.0, np.cos(np.deg2rad(degrees)), -np.sin(np.deg2rad(degrees))])
    for dataset in datasets[which]:
        dataset.ImageOrientationPatient = [1.0, 0.0, 0.0, *map(float, down)]
        moved = np.array(dataset.ImagePositionPatient, float) + _HALF_MM * (np.array([0.0, 1.0, 0.0]) - down)
        dataset.ImagePositionPatient = [round(float(part), 6) for part in moved]
    return datasets


def test_a_tilted_block_is_analysed_and_the_study_may_be_absent(tmp_path: Path) -> None:
    analysis = _answer(tmp_path, _turned(head_mr(), slice(0, 9)))
    assert analysis.outcome is Outcome.ABSENT
    assert [(row.stack, len(row.slices)) for row in analysis.series] == [(1, 19), (2, 9)]
    assert len({source for row in analysis.series for source in row.slices}) == 28
    assert analysis.left_out == ()
    assert any("2 stacks" in text and "not analysed as one" in text for text in analysis.degradations)
    (verdict,) = analysis.verdicts
    assert verdict.reason.text == "28 MR images (unknown) in 2 stacks"


def test_a_wedge_between_two_blocks_stands_against_absent_where_it_is_wide(tmp_path: Path) -> None:
    analysis = _answer(tmp_path, _turned(head_mr(), slice(0, 9), degrees=15.0))
    assert [(row.stack, len(row.slices)) for row in analysis.series] == [(1, 19), (2, 9)]
    assert analysis.outcome is Outcome.UNDETERMINED
    assert " mm lie between two of them" in analysis.reasons[0].text


def test_lesions_and_predictions_of_two_stacks_are_told_apart(tmp_path: Path) -> None:
    analysis = _answer(tmp_path, _turned(head_mr(), slice(0, 12)), **TUMOUR)
    assert analysis.outcome is Outcome.PRESENT
    stack_of = {s.sop_instance_uid: row.stack for row in analysis.series for s in row.slices}
    by_lesion: dict[int, set[int]] = {}
    for finding in analysis.findings:
        by_lesion.setdefault(finding.lesion, set()).add(stack_of[finding.sop_instance_uid])
    assert all(len(stacks) == 1 for stacks in by_lesion.values())
    assert {stack for stacks in by_lesion.values() for stack in stacks} == {1, 2}
    assert sorted(p.stack for p in analysis.predictions if p.series_instance_uid) == [1, 2]


@pytest.mark.parametrize(
    "which", [slice(0, 3), slice(25, 28), slice(12, 15)], ids=["base", "vertex", "middle"]
)
def test_a_block_too_small_to_be_analysed_is_named_and_the_study_is_never_absent(
    tmp_path: Path, which: slice
) -> None:
    analysis = _answer(tmp_path, _turned(head_mr(), which))
    assert analysis.outcome is Outcome.UNDETERMINED
    assert analysis.triage is Triage.PRIORITY
    assert [reason.code for reason in analysis.reasons] == [ReasonCode.PART_NOT_ANALYSED]
    assert "where nothing was analysed: slices turned by 5 degrees" in analysis.reasons[0].text
    assert [(item.reason.code, item.count) for item in analysis.left_out] == [
        (ReasonCode.INCONSISTENT_GEOMETRY, 3)
    ]
    assert analysis.verdicts[0].reason.text == "25 of 28 MR images (unknown)"


def _phase(datasets: list[Dataset]) -> list[Dataset]:
    twins = deepcopy(datasets)
    for twin in twins:
        twin.ImageType = ["ORIGINAL", "PRIMARY", "P"]
    return twins


def _scout() -> Dataset:
    scout = head_mr()[14]
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = list(SAGITTAL)
    scout.ImagePositionPatient = [0.0, -110.0, 300.0]
    return scout


def test_what_shows_nothing_new_does_not_stand_against_absent(tmp_path: Path) -> None:
    slices = head_mr()
    analysis = _answer(tmp_path, [*_phase(slices), *slices, _scout(), *deepcopy(slices[:2])])
    assert analysis.outcome is Outcome.ABSENT
    assert {item.reason.code: item.count for item in analysis.left_out} == {
        ReasonCode.OTHER_KIND: 28, ReasonCode.LOCALIZER: 1, ReasonCode.SAME_PLACE: 2,
    }  # fmt: skip
    assert analysis.verdicts[0].reason.text == "28 of 59 MR images (unknown)"


def test_a_phase_image_where_no_magnitude_was_analysed_stands_against_absent(tmp_path: Path) -> None:
    slices = head_mr()
    analysis = _answer(tmp_path, [*_phase(slices), *slices[:24]])
    assert analysis.outcome is Outcome.UNDETERMINED
    assert [reason.code for reason in analysis.reasons] == [ReasonCode.PART_NOT_ANALYSED]


@pytest.mark.parametrize(("count", "outcome"), [(10, Outcome.ABSENT), (6, Outcome.UNDETERMINED)])
def test_coverage_is_that_of_the_stacks_together(tmp_path: Path, count: int, outcome: Outcome) -> None:
    """Each of two blocks alone shows too little of the head for an absent."""
    part = head_mr()[14 - count : 14 + count]
    analysis = _answer(tmp_path, _turned(part, slice(0, count)), coverage_mm=80.0)
    assert [len(row.slices) for row in analysis.series] == [count, count]
    assert analysis.outcome is outcome


def test_two_passes_over_the_same_part_do_not_cover_twice(tmp_path: Path) -> None:
    part = head_mr()[7:19]
    again = deepcopy(part)
    for dataset in again:
        dataset.PixelSpacing = [1.5, 1.5]
    analysis = _answer(tmp_path, [*part, *again], coverage_mm=80.0)
    assert len(analysis.series) == 2
    assert analysis.outcome is Outcome.UNDETERMINED
