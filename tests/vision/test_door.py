"""The room's one door, with random weights; and with the committed weights on real volumes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurotriage.core.evidence import Evidence
from neurotriage.core.values import Outcome, Plane, ReasonCode, Triage
from tests.vision.synthetic import axial_head, ball, ct_head, head_with, turned, volume, write_weights
from worker.vision import BadWeights, analyse_volumes, load_models

# With random weights every probability lies near one half, so the rule alone makes the outcome.
ALWAYS: dict[str, Any] = {"low": 1e-6, "high": 2e-6, "certain": 3e-6, "outer_weight": 1.0}
NEVER: dict[str, Any] = {"low": 1.1, "high": 1.2, "certain": 1.3}


def test_reading_the_registry_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from worker.vision import read_registry\n"
        f"assert read_registry(pathlib.Path({str(write_weights(tmp_path))!r})).modalities == {{'MR'}}\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_positive_study_comes_with_findings_and_evidence(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, **ALWAYS, mask_level=0.0, lesion_mm3=1.0), threads=1)
    lesion = head_with(ball((30, 0, 0), 15))
    stack = volume(lesion, *turned(Plane.AXIAL)[2], Plane.AXIAL, shape=(40, 64, 64), spacing_mm=(3, 3))
    study, evidence = analyse_volumes([stack], models)
    assert study.outcome is Outcome.PRESENT
    assert study.triage in (Triage.URGENT, Triage.PRIORITY)
    assert study.reasons[0].code is ReasonCode.TUMOUR
    assert study.findings
    assert len(study.series[0].scores.tumour) == len(study.series[0].scores.out_of_distribution) == 40
    about_study, about_series = study.predictions
    assert (about_study.series_instance_uid, about_series.series_instance_uid) == (None, "1.2.3")
    assert set(about_study.probabilities) == {"tumour", "healthy", "benign", "malignant"}
    assert about_study.sha256 == models.cards["MR"].sha256
    assert 1 <= len(evidence.slices) <= 25
    assert evidence.key is not None
    with_findings = {finding.slice_index for finding in study.findings}
    assert evidence.slices[evidence.key].slice_index in with_findings
    assert all(item.heat.shape == stack.voxels.shape[1:] for item in evidence.slices)
    masks = {item.slice_index: item.mask for item in evidence.slices}
    for finding in study.findings:
        x0, y0, x1, y1 = finding.box
        assert finding.slice_index not in masks or masks[finding.slice_index][y0:y1, x0:x1].any()
    again = Evidence.from_bytes(evidence.to_bytes())
    assert again.slices[0].slice_index == evidence.slices[0].slice_index


def test_a_sure_classifier_without_a_mask_outlines_what_it_looked_at(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, **ALWAYS, mask_level=1.1, heat_level=0.2), threads=1)
    study, _ = analyse_volumes([axial_head()], models)
    assert study.outcome is Outcome.PRESENT
    assert any("no lesion mask" in text for text in study.degradations)


def test_a_negative_study_has_a_map_and_no_finding(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, **NEVER), threads=1)
    study, evidence = analyse_volumes([axial_head()], models)
    assert (study.outcome, study.triage, study.findings) == (Outcome.ABSENT, Triage.ROUTINE, ())
    assert 1 <= len(evidence.slices) <= 2
    assert evidence.key is not None


def test_noise_is_never_absent(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, **NEVER), threads=1)
    stack = axial_head()
    noise = np.random.default_rng(0).normal(size=stack.voxels.shape).astype(np.float32)
    study, evidence = analyse_volumes([replace(stack, voxels=noise)], models)
    assert (study.outcome, study.reasons[0].code) == (Outcome.POOR_QUALITY, ReasonCode.NOISE)
    assert evidence == Evidence() or not evidence.slices


def test_what_shows_no_head_is_not_eligible(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, **NEVER, head_probability=1.1), threads=1)
    study, _ = analyse_volumes([axial_head()], models)
    assert (study.outcome, study.reasons[0].code) == (Outcome.NOT_ELIGIBLE, ReasonCode.NOT_A_HEAD)


def test_too_few_slices_of_a_head_are_of_poor_quality_and_of_something_else_not_eligible(
    tmp_path: Path,
) -> None:
    models = load_models(write_weights(tmp_path, **NEVER), threads=1)
    study, _ = analyse_volumes([axial_head(shape=(1, 80, 96))], models)
    assert (study.outcome, study.reasons[0].code) == (Outcome.POOR_QUALITY, ReasonCode.TOO_FEW_SLICES)
    models = load_models(write_weights(tmp_path, **NEVER, head_probability=1.1), threads=1)
    study, _ = analyse_volumes([axial_head(shape=(1, 80, 96))], models)
    assert (study.outcome, study.reasons[0].code) == (Outcome.NOT_ELIGIBLE, ReasonCode.NOT_A_HEAD)


def test_a_ct_that_may_show_a_bleed_is_undetermined_and_urgent(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, modality="CT", **NEVER, mimic=0.0), threads=1)
    study, evidence = analyse_volumes([ct_head()], models)
    assert (study.outcome, study.triage) == (Outcome.UNDETERMINED, Triage.URGENT)
    assert study.reasons[0].code is ReasonCode.LOOK_ALIKE
    assert "bleed" in study.reasons[0].text
    assert set(study.predictions[0].probabilities) == {"tumour", "healthy", "look_alike"}
    assert study.findings == ()
    assert evidence.key is not None


def test_a_tumour_beside_a_look_alike_stays_present_and_is_urgent(tmp_path: Path) -> None:
    always = {**ALWAYS, "mimic": 0.0}
    models = load_models(write_weights(tmp_path, modality="CT", **always), threads=1)
    study, _ = analyse_volumes([ct_head()], models)
    assert (study.outcome, study.triage) == (Outcome.PRESENT, Triage.URGENT)


def test_a_tumour_on_ct_alone_has_priority(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, modality="CT", **ALWAYS, mimic=1.1), threads=1)
    study, _ = analyse_volumes([ct_head()], models)
    assert (study.outcome, study.triage) == (Outcome.PRESENT, Triage.PRIORITY)


def test_a_ct_that_shows_neither_is_absent(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, modality="CT", **NEVER, mimic=1.1), threads=1)
    study, _ = analyse_volumes([ct_head()], models)
    assert (study.outcome, study.triage) == (Outcome.ABSENT, Triage.ROUTINE)


def test_a_possible_bleed_stands_for_a_study_before_another_doubt(tmp_path: Path) -> None:
    doubt = {**NEVER, "low": 1e-6, "mimic": 0.0}
    models = load_models(write_weights(tmp_path, modality="CT", **doubt), threads=1)
    study, _ = analyse_volumes([ct_head(uid="1"), ct_head(uid="2")], models)
    assert [reason.code for reason in study.reasons] == [ReasonCode.LOOK_ALIKE]
    assert study.triage is Triage.URGENT


def test_a_modality_without_a_model_says_so(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, **NEVER), threads=1)
    study, _ = analyse_volumes([axial_head(modality="CT")], models)
    assert (study.outcome, study.reasons[0].code) == (Outcome.NOT_ELIGIBLE, ReasonCode.NO_MODEL)
    assert study.triage is Triage.NONE


def test_a_study_without_volumes_ends_with_a_reason(tmp_path: Path) -> None:
    study, evidence = analyse_volumes([], load_models(write_weights(tmp_path), threads=1))
    assert study.outcome is Outcome.NOT_ELIGIBLE
    assert study.reasons
    assert evidence.key is None


def test_a_thinned_stack_is_named_a_degradation_and_scored_throughout(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, **NEVER), threads=1)
    stack = axial_head(shape=(210, 24, 24), spacing_mm=(8.0, 8.0), step_mm=0.8)
    study, _ = analyse_volumes([stack], models)
    assert "200 of 210 slices" in study.degradations[0]
    assert len(study.series[0].scores.tumour) == 210


def test_several_series_are_judged_together(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, **NEVER), threads=1)
    study, evidence = analyse_volumes([axial_head(uid="1"), axial_head(uid="2")], models)
    assert [row.series_instance_uid for row in study.series] == ["1", "2"]
    assert {item.series_instance_uid for item in evidence.slices} == {"1", "2"}


@pytest.mark.parametrize("name", ["registry.json", "study_rule.json", "random.safetensors"])
def test_a_missing_or_damaged_file_stops_the_start_with_its_name(tmp_path: Path, name: str) -> None:
    path = write_weights(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadWeights, match=name):
        load_models(tmp_path)
    path.unlink()
    with pytest.raises(BadWeights, match=name):
        load_models(tmp_path)


def test_damaged_reference_features_are_refused(tmp_path: Path) -> None:
    path = write_weights(tmp_path) / "random.features.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadWeights, match=r"random\.features"):
        analyse_volumes([axial_head()], load_models(tmp_path, threads=1))


def test_a_rule_for_other_weights_is_named_a_degradation(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path, **NEVER, model_sha256="00"), threads=1)
    study, _ = analyse_volumes([axial_head()], models)
    assert "other weights" in study.degradations[0]
