"""Real studies end as a careful engineer expects: heads are analysed, everything else is refused in words."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from neurotriage.core.settings import WorkerSettings
from neurotriage.core.values import Analysis, Outcome
from neurotriage.dicom.manifest import scan_folder
from tests.eligibility.rule import RULE
from worker.analysis import analyse, select_series
from worker.results import build
from worker.vision import Models, load_models, read_registry

ANALYSED = frozenset({"present", "absent", "undetermined"})
ALLOWED = {
    "brain-analyse": ANALYSED,
    "poor_quality": frozenset({"poor_quality", "incomplete", "not_eligible", "undetermined"}),
    "undetermined": frozenset({"undetermined", "poor_quality", "not_eligible"}),
    "not_eligible": frozenset({"not_eligible"}),
}
WEIGHTS = WorkerSettings().weights
BRAINIX = "brain_mr_philips_flair_t2star_tumour"


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(WEIGHTS, threads=1)


def _analyses(folder: Path, models: Models) -> Iterator[Analysis]:
    """Each study of a folder through the whole analysis, its results built too."""
    for manifest in scan_folder(folder).studies:
        selection = select_series(manifest, RULE)
        analysis, evidence = analyse(
            selection, read_registry(WEIGHTS).modalities, lambda: models, datetime(2026, 1, 1, tzinfo=UTC)
        )
        objects = build(analysis, evidence, manifest, "2.25.1").objects
        assert objects or analysis.study_instance_uid is None
        yield analysis


def _expected(data_dir: Path) -> dict[str, str]:
    with (data_dir / "dicom" / "studies.csv").open(newline="") as file:
        return {row["folder"]: row["expected"] for row in csv.DictReader(file)}


def test_every_real_folder_ends_as_expected_with_a_reason(data_dir: Path, models: Models) -> None:
    wrong = []
    for folder, expected in _expected(data_dir).items():
        for analysis in _analyses(data_dir / "dicom" / folder, models):
            allowed = ALLOWED[expected]
            if folder.startswith("brain_ct") and "CT" not in read_registry(WEIGHTS).modalities:
                allowed = frozenset({"not_eligible"})
            outcome = analysis.outcome.value
            print(
                f"{folder:48} {expected:14} {outcome:13} {'; '.join(r.text for r in analysis.reasons)[:90]}"
            )
            if outcome not in allowed or not analysis.reasons:
                wrong.append((folder, expected, outcome))
    assert not wrong


def test_the_left_frontal_lesion_of_brainix_is_found_on_its_slices(data_dir: Path, models: Models) -> None:
    (analysis,) = _analyses(data_dir / "dicom" / BRAINIX, models)
    assert analysis.outcome is Outcome.PRESENT
    scan = scan_folder(data_dir / "dicom" / BRAINIX)
    numbers = {header.sop_instance_uid: header.instance_number for header in scan.headers}
    largest = [finding for finding in analysis.findings if finding.lesion == 1]
    assert {finding.side.value for finding in largest} == {"left"}
    flair = [numbers[finding.sop_instance_uid] or 0 for finding in largest]
    assert any(5 <= number <= 13 for number in flair)


def test_an_old_infarct_on_ct_is_not_called_a_tumour(data_dir: Path, models: Models) -> None:
    (analysis,) = _analyses(data_dir / "dicom" / "brain_ct_ge_tilt_infarct", models)
    assert analysis.outcome is not Outcome.PRESENT
    assert analysis.outcome is not Outcome.ABSENT


def test_a_healthy_head_is_not_called_a_tumour(data_dir: Path, models: Models) -> None:
    (analysis,) = _analyses(data_dir / "dicom" / "brain_mr_ge_pd_axial", models)
    assert analysis.outcome is not Outcome.PRESENT
