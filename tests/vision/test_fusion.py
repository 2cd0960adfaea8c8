"""CT and MR judged together: when, and what it may change. Weights are random, volumes drawn."""

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from neurotriage.core.values import Outcome, Plane, ReasonCode, StudyDecision, Triage
from neurotriage.core.volume import Registration, Volume
from tests.vision.synthetic import axial_head, ct_head, head_with, turned, volume, write_rules, write_weights
from worker.vision import analyse_volumes, load_models
from worker.vision.fusion import common_space
from worker.vision.network import CLASSES, EFFICIENTNET_LITE0
from worker.vision.network.fusion import FusionNet
from worker.vision.registry import BadWeights, read_registry
from worker.vision.registry.self_check import fusion_answers

FRAME, OTHER_FRAME = "1.9.1", "1.9.2"
CT_UID, MR_UID = "1.2.4", "1.2.3"
STACK = {"shape": (26, 80, 96), "step_mm": 6.0}


def pair(ct_frame: str | None = FRAME, mr_frame: str | None = FRAME) -> list[Volume]:
    ct = replace(ct_head(uid=CT_UID), frame_of_reference_uid=ct_frame)
    return [ct, replace(axial_head(uid=MR_UID, **STACK), frame_of_reference_uid=mr_frame)]


def both_weights(
    folder: Path,
    third_class_bias: float = 0.0,
    eligibility: Mapping[str, object] | None = None,
    **rule: object,
) -> Path:
    """One folder with a random network for each modality."""
    parts = []
    for seed, modality in enumerate(("CT", "MR")):
        part = folder / modality
        part.mkdir()
        write_weights(part, seed, modality, third_class_bias, **rule)
        for name in ("random.safetensors", "random.features.safetensors"):
            (part / name).rename(folder / f"{modality}.{name}")
        (card,) = json.loads((part / "registry.json").read_text())["models"]
        study_rule = json.loads((part / "study_rule.json").read_text())["rules"][modality]
        card |= {"name": f"random-{modality}", "file": f"{modality}.random.safetensors"}
        study_rule |= {"model": card["name"], "features_file": f"{modality}.random.features.safetensors"}
        parts.append((modality, card, study_rule))
    (folder / "registry.json").write_text(json.dumps({"models": [card for _, card, _ in parts]}))
    write_rules(folder, {"rules": {m: rule for m, _, rule in parts}}, **(eligibility or {}))
    return folder


def with_fusion(
    folder: Path, raised_at: float = 1.0, healthy_bias: float = 0.0, benign_bias: float = 0.0
) -> Path:
    """Adds a random fusion; the biases are what it says of everything."""
    torch.manual_seed(3)
    network = FusionNet((EFFICIENTNET_LITE0, EFFICIENTNET_LITE0))
    with torch.no_grad():
        network.classes.bias[0] += healthy_bias
        network.classes.bias[1] += benign_bias
    data = save(network.half().state_dict())
    answers = fusion_answers(network.float().eval())
    (folder / "fusion.safetensors").write_bytes(data)
    path = folder / "registry.json"
    document = json.loads(path.read_text())
    members = {c["modality"]: {"name": c["name"], "sha256": c["sha256"]} for c in document["models"]}
    document["fusion"] = {
        "version": "0",
        "file": "fusion.safetensors",
        "sha256": sha256(data).hexdigest(),
        "members": members,
        "temperature": 1.0,
        "thresholds": {"tumour": 0.5, "raise": raised_at},
        "classes": list(CLASSES),
        "experiments": {"grade": {"auc_roc": None, "allowed": False}},
        "answers": answers,
    }
    path.write_text(json.dumps(document))
    return folder


def judged(folder: Path, volumes: list[Volume], *registrations: Registration) -> StudyDecision:
    return analyse_volumes(volumes, load_models(folder, threads=1), registrations)[0]


def test_ct_and_mr_in_one_frame_of_reference_are_judged_together(tmp_path: Path) -> None:
    study = judged(with_fusion(both_weights(tmp_path, low=0.0, high=1.1, certain=1.1)), pair())
    (fused,) = (p for p in study.predictions if p.model == "fusion")
    assert (fused.modality, fused.series_instance_uid) == ("CT+MR", None)
    assert set(fused.probabilities) == {"tumour", *CLASSES}
    assert set(fused.left_out) == {"CT", "MR"}
    assert len({fused.probabilities["tumour"], *fused.left_out.values()}) == 3
    assert not any("apart" in text for text in study.degradations)


@pytest.mark.parametrize("frames", [(FRAME, OTHER_FRAME), (FRAME, None), (None, None)])
def test_another_frame_of_reference_leaves_both_alone_and_says_why(
    tmp_path: Path, frames: tuple[str | None, str | None]
) -> None:
    study = judged(with_fusion(both_weights(tmp_path, low=0.0)), pair(*frames))
    assert {p.model for p in study.predictions} == {"random-CT", "random-MR"}
    assert any("judged apart" in text and "frame of reference" in text for text in study.degradations)


def test_a_registration_joins_two_frames_of_reference(tmp_path: Path) -> None:
    shift = np.eye(4)
    shift[:3, 3] = (0, 0, 500)
    ct, mr = pair(FRAME, OTHER_FRAME)
    far = replace(mr, positions_mm=mr.positions_mm - (0, 0, 500))
    folder = with_fusion(both_weights(tmp_path, low=0.0))
    study = judged(folder, [ct, far], Registration(OTHER_FRAME, FRAME, shift))
    assert "fusion" in {p.model for p in study.predictions}
    apart = judged(folder, [ct, far], Registration(OTHER_FRAME, FRAME, np.eye(4)))
    assert any("slices in common" in text for text in apart.degradations)


def test_a_registration_is_read_in_either_direction_and_over_a_third_frame() -> None:
    ct, mr = pair(FRAME, OTHER_FRAME)
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, 2], [0, 0, 1, -3], [0, 0, 0, 1]], float)
    there = common_space(ct, mr, [Registration(OTHER_FRAME, FRAME, turn)])
    back = common_space(ct, mr, [Registration(FRAME, OTHER_FRAME, np.linalg.inv(turn))])
    third = [Registration(OTHER_FRAME, "1.9.3", turn), Registration(FRAME, "1.9.3", np.eye(4))]
    for found in (there, back, common_space(ct, mr, third)):
        assert found is not None
        assert np.allclose(found, turn)
    assert common_space(ct, mr, [Registration("1.9.7", FRAME, turn)]) is None


def test_slices_of_another_plane_are_not_paired(tmp_path: Path) -> None:
    ct, _ = pair()
    stack = volume(head_with(), *turned(Plane.SAGITTAL)[0], Plane.SAGITTAL, uid=MR_UID, **STACK)  # type: ignore[arg-type]
    mr = replace(stack, frame_of_reference_uid=FRAME)
    study = judged(with_fusion(both_weights(tmp_path, low=0.0)), [ct, mr])
    assert any("cross at 90 degrees" in text for text in study.degradations)


def test_slices_that_show_nothing_have_no_partner(tmp_path: Path) -> None:
    """Both heads end in air; of the MR all but two slices are blank."""
    ct, mr = pair()
    blank = np.full_like(mr.voxels, mr.voxels.min())
    blank[12:14] = mr.voxels[12:14]
    study = judged(with_fusion(both_weights(tmp_path, low=0.0)), [ct, replace(mr, voxels=blank)])
    assert any("2 slices in common" in text for text in study.degradations)


def test_a_fused_score_makes_a_doubt_a_tumour_with_findings(tmp_path: Path) -> None:
    """Thresholds below any score: each series alone is in doubt, both together are sure."""
    both_weights(tmp_path, low=0.0, high=1.1, certain=1.1)
    doubt = judged(with_fusion(tmp_path, raised_at=1.0), pair())
    assert doubt.outcome is Outcome.UNDETERMINED
    sure = judged(with_fusion(tmp_path, raised_at=0.0), pair())
    assert sure.outcome is Outcome.PRESENT
    assert sure.predictions[0].model == "fusion"
    assert {row.outcome for row in sure.series} == {Outcome.PRESENT}
    assert all("together" in row.reason.text for row in sure.series)
    assert sure.findings
    assert {p.model for p in doubt.predictions} == {p.model for p in sure.predictions}


def test_a_fused_score_lowers_nothing(tmp_path: Path) -> None:
    both_weights(tmp_path, low=0.0, high=0.0, certain=0.0)
    alone = judged(tmp_path, pair())
    study = judged(with_fusion(tmp_path, raised_at=1.0, healthy_bias=50.0), pair())
    assert alone.outcome is study.outcome is Outcome.PRESENT
    assert alone.findings == study.findings
    assert study.predictions[0] == alone.predictions[0]
    assert study.predictions[1].probabilities["tumour"] < 0.01


def test_what_looks_malignant_alone_stays_urgent_where_both_together_look_benign(tmp_path: Path) -> None:
    """The CT is in doubt, so the MR stands for the study."""
    both_weights(tmp_path, third_class_bias=9.0, low=0.0, high=0.0, certain=0.0)
    path = tmp_path / "study_rule.json"
    rules = json.loads(path.read_text())
    rules["rules"]["CT"] |= {"high": 1.1, "certain": 1.1}
    path.write_text(json.dumps(rules))
    alone = judged(tmp_path, pair())
    kinds = alone.predictions[0].probabilities
    assert kinds["malignant"] > kinds["benign"]
    assert alone.triage is Triage.URGENT
    study = judged(with_fusion(tmp_path, raised_at=1.1, benign_bias=50.0), pair())
    assert study.predictions[1].probabilities["malignant"] < 0.01
    assert study.triage is Triage.URGENT


def test_a_fusion_that_cannot_be_loaded_any_more_leaves_the_answers_of_each_alone(tmp_path: Path) -> None:
    both_weights(tmp_path, low=0.0, high=0.0, certain=0.0)
    alone = judged(tmp_path, pair())
    models = load_models(with_fusion(tmp_path), threads=1)
    (tmp_path / "fusion.safetensors").unlink()
    study, _ = analyse_volumes(pair(), models)
    assert (study.outcome, study.predictions) == (alone.outcome, alone.predictions)
    assert any("judged apart" in text and "cannot be loaded" in text for text in study.degradations)


def test_a_possible_bleed_is_not_made_a_tumour(tmp_path: Path) -> None:
    both_weights(tmp_path, low=0.0, high=1.1, certain=1.1, mimic=0.0)
    study = judged(with_fusion(tmp_path, raised_at=0.0), pair())
    ends = {row.series_instance_uid: row for row in study.series}
    assert ends[CT_UID].outcome is Outcome.UNDETERMINED
    assert ends[CT_UID].reason.code is ReasonCode.LOOK_ALIKE


def test_without_a_fusion_nothing_is_said_of_it(tmp_path: Path) -> None:
    study = judged(both_weights(tmp_path, low=0.0), pair(FRAME, OTHER_FRAME))
    assert {p.model for p in study.predictions} == {"random-CT", "random-MR"}
    assert study.degradations == ()


def test_light_models_that_a_site_chose_are_no_fault_of_the_fusion(tmp_path: Path) -> None:
    with_fusion(both_weights(tmp_path, low=0.0, high=0.0, certain=0.0))
    path = tmp_path / "study_rule.json"
    rules = json.loads(path.read_text())
    rules["light"] = {"MR": rules["rules"]["MR"]}  # any network will do
    path.write_text(json.dumps(rules))
    study, _ = analyse_volumes(pair(), load_models(tmp_path, threads=1, light=True))
    assert not any("apart" in text for text in study.degradations)
    assert not any(prediction.model == "fusion" for prediction in study.predictions)


def test_one_modality_alone_is_no_fault(tmp_path: Path) -> None:
    study = judged(with_fusion(both_weights(tmp_path, low=0.0)), pair()[1:])
    assert {p.model for p in study.predictions} == {"random-MR"}
    assert study.degradations == ()


def test_maps_of_a_fused_score_differ_from_those_of_each_modality_alone(tmp_path: Path) -> None:
    both_weights(tmp_path, low=0.0, high=1.1, certain=1.1)
    heats = []
    for raised_at in (1.0, 0.0):
        models = load_models(with_fusion(tmp_path, raised_at), threads=1)
        _, evidence = analyse_volumes(pair(), models)
        heats.append({(s.series_instance_uid, s.slice_index): s.heat for s in evidence.slices})
    common = heats[0].keys() & heats[1].keys()
    assert {uid for uid, _ in common} == {CT_UID, MR_UID}
    for place in common:
        assert not np.allclose(heats[0][place], heats[1][place])


def test_a_damaged_or_outdated_fusion_stops_the_start(tmp_path: Path) -> None:
    with_fusion(both_weights(tmp_path))
    read_registry(tmp_path).verify_all()
    file = tmp_path / "fusion.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(BadWeights, match="fusion"):
        read_registry(tmp_path).verify_all()
    with pytest.raises(BadWeights, match="fusion"):
        load_models(tmp_path)
    file.write_bytes(whole)
    path = tmp_path / "registry.json"
    document = json.loads(path.read_text())
    document["fusion"]["members"]["MR"]["sha256"] = "0" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(BadWeights, match="train it again"):
        read_registry(tmp_path)
