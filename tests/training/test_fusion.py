"""The fusion's training: pairs, what is learnt from them, calibration, card and figures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import COLUMNS, slice_picture, write_manifest
from tests.vision.test_fusion import both_weights, with_fusion
from training.data.samples import STORED_PX, UNLABELLED
from training.evaluators import main as evaluate
from training.fusion import train as training
from training.fusion.card import main as write_card
from training.fusion.export import above_chance
from training.fusion.features import (
    ABSENT,
    Features,
    PairFeatures,
    Scale,
    fold,
    scaled,
    without,
)
from training.fusion.pairs import ALONE, REAL, SYNTHETIC, Pair, pairs_of
from training.fusion.patients import patients_of
from training.release.export import enter
from worker.vision.network import EFFICIENTNET_LITE0
from worker.vision.network.fusion import FusionNet, channels_of
from worker.vision.registry import read_registry

FIELDS = (*COLUMNS, "plane", "pair", "grade", "death")


def head_ct(seed: int) -> Image.Image:
    """Skull and brain in a brain window."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :80]
    radius = np.hypot((y - 48) / 44, (x - 40) / 36)
    picture = np.where(radius < 0.88, 110.0, np.where(radius < 1, 250.0, 0.0))
    picture += random.normal(0, 4, picture.shape) * (radius < 0.88)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Per split: four MR patients with a lesion, four without, three healthy CT people, one real pair."""
    rows = []
    for split in ("train", "val"):
        for number in range(8):
            tumour, name = number % 2 == 0, f"{split}{number}"
            picture, mask = slice_picture((40, 30) if tumour else None, number)
            Image.fromarray(picture).save(tmp_path / f"{name}.png")
            Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
            rows.append({
                "path": f"{name}.png", "mask": f"{name}_mask.png" if tumour else "", "modality": "MR",
                "sequence": "FLAIR", "plane": "axial", "label": "malignant" if tumour else "healthy",
                "tumour": str(int(tumour)), "source": "lgg" if tumour else "nichart", "group": name,
                "split": split, "grade": str(2 + number // 4) if tumour else "4",
                "death": str(number // 4) if tumour else "",
            })  # fmt: skip
        for number in range(4):
            name, real = f"ct-{split}{number}", number == 3
            head_ct(number).save(tmp_path / f"{name}.png")
            rows.append({
                "path": f"{name}.png", "modality": "CT", "sequence": "CT", "plane": "axial",
                "label": "unknown" if real else "healthy", "tumour": "0",
                "source": "aanlib-pair" if real else "brainstroke-normal", "group": f"case-{name}",
                "split": split, "pair": f"{split}-1" if real else "",
            })  # fmt: skip
        Image.fromarray(slice_picture(None, 50)[0]).save(tmp_path / f"mr-{split}.png")
        rows.append({**rows[-1], "path": f"mr-{split}.png", "modality": "MR", "sequence": "T2"})
    return write_manifest(tmp_path, rows, FIELDS)


def of_kind(pairs: tuple[Pair, ...], kind: str, *, mr: bool = True) -> list[Pair]:
    return [pair for pair in pairs if pair.kind == kind and bool(pair.mr) == mr]


def test_the_same_lesion_lies_at_the_same_place_in_both(manifest: Path) -> None:
    pairs = pairs_of(manifest, "train")
    plain = [p.ct for p in of_kind(pairs, SYNTHETIC) if not p.tumour]
    ill = [p for p in of_kind(pairs, SYNTHETIC) if p.tumour]
    assert plain
    assert ill
    for pair in ill:
        assert pair.ct is not None
        nearest = min((np.abs(pair.ct.astype(int) - other) for other in plain), key=lambda d: d.mean())
        row, column = np.average(np.indices(nearest.shape).reshape(2, -1), axis=1, weights=nearest.ravel())
        bright = pair.mr[0] > 220
        lesion = np.argwhere(bright).mean(0)
        assert np.hypot(row - lesion[0], column - lesion[1]) < 12


def test_pairs_are_of_one_split_and_each_kind_knows_its_truth(manifest: Path) -> None:
    pairs = pairs_of(manifest, "val")
    assert {pair.series for pair in pairs if pair.row} == {f"val{n}" for n in range(8)} | {"case-ct-val3"}
    assert not any("train" in pair.series for pair in pairs)
    (real,) = of_kind(pairs, REAL)
    assert (real.tumour, real.target, real.source) == (False, 0, "aanlib-pair")
    assert {pair.target for pair in of_kind(pairs, SYNTHETIC) if pair.tumour} == {2}
    masses = [pair for pair in of_kind(pairs, ALONE, mr=False) if pair.tumour]
    assert masses
    assert {pair.target for pair in masses} == {None}


def test_mr_is_stored_as_large_as_its_encoder_wants_and_ct_as_ever(manifest: Path) -> None:
    pairs = pairs_of(manifest, "val", mr_px=220)
    assert {picture.shape for pair in pairs for picture in pair.mr} == {(220, 220)}
    assert {pair.ct.shape for pair in pairs if pair.ct is not None} == {(STORED_PX, STORED_PX)}


def test_a_manifest_without_ct_gives_mr_slices_alone(toy: list[dict[str, str]], tmp_path: Path) -> None:
    path = write_manifest(tmp_path, [row for row in toy if row["modality"] == "MR"])
    pairs = pairs_of(path, "test")
    assert {pair.kind for pair in pairs} == {ALONE}
    assert len(pairs) == 12


def drawn(pairs: int = 4, seed: int = 0) -> tuple[FusionNet, PairFeatures]:
    """Pairs without pictures, with random features; the last has no CT."""
    torch.manual_seed(seed)
    channels = sum(channels_of(EFFICIENTNET_LITE0))
    places, ct_row = torch.arange(pairs), torch.tensor([*range(pairs - 1), ABSENT])
    seen = Features(torch.rand(pairs, channels), torch.rand(pairs, channels), places, ct_row, places)
    one = Pair(
        SYNTHETIC, None, (np.zeros((2, 2), np.uint8),), True, "malignant", "lgg", "p", ("lgg", "1"), None
    )
    return FusionNet((EFFICIENTNET_LITE0, EFFICIENTNET_LITE0)).eval(), PairFeatures([one] * pairs, seen)


def test_scaling_is_folded_into_the_weights() -> None:
    network, known = drawn()
    scales = Scale.of(known.features.ct), Scale.of(known.features.mr)
    rows = torch.arange(4)
    with torch.no_grad():
        before = network(*scaled(known.features, scales).inputs(rows), known.features.given).classes
        fold(network, scales)
        after = network(*known.features.inputs(rows), known.features.given).classes
    assert torch.allclose(before, after, atol=1e-4)


def test_modality_dropout_leaves_one_part_and_never_none() -> None:
    torch.manual_seed(0)
    given = torch.tensor([[True, True]] * 2000 + [[False, True]] * 2000)
    kept = training.dropped(given)
    assert kept.any(1).all()
    assert torch.equal(kept[2000:], given[2000:])
    for part in (0, 1):
        assert 0.2 < 1 - kept[:2000, part].float().mean() < 0.3


def test_a_part_is_left_out_only_where_the_other_is_there() -> None:
    given = torch.tensor([[True, True], [False, True], [True, False]])
    assert without(given, 0).tolist() == [[False, True], [False, True], [True, False]]
    assert without(given, 1).tolist() == [[True, False], [False, True], [True, False]]
    assert torch.equal(without(given, None), given)


def test_a_tumour_of_unknown_class_teaches_that_it_is_one() -> None:
    truth = training.Truth(
        torch.tensor([UNLABELLED, UNLABELLED, 1]), torch.tensor([1, UNLABELLED, 1]), np.ones(3)
    )
    sure = torch.tensor([[-20.0, 0.0, 0.0]] * 3)
    rows = torch.arange(3)
    assert training.class_losses(sure, truth, rows).tolist() == pytest.approx([0, 0, np.log(2)], abs=1e-5)
    wrong = torch.tensor([[20.0, 0.0, 0.0]] * 3)
    losses = training.class_losses(wrong, truth, rows)
    assert losses[0] > 15
    assert losses[1] == 0


def test_grade_4_is_no_question_and_a_patient_counts_once(manifest: Path) -> None:
    pairs = pairs_of(manifest, "val")
    rows = [(k, ABSENT, k) for k in range(len(pairs))] * 2
    seen = Features(torch.zeros(1, 1), torch.zeros(1, 1), *torch.tensor(rows).T)
    found = patients_of(PairFeatures(pairs, seen), "grade")
    assert found.names == ("val0", "val2", "val4", "val6")
    assert found.truth.tolist() == [False, False, True, True]
    assert len(found.rows) == 8


@pytest.mark.parametrize(
    ("figure", "allowed"),
    [
        (None, False),
        ({"value": 0.9, "low": None, "high": None, "n_groups": 4}, False),
        ({"value": 0.7, "low": 0.49, "high": 0.9, "n_groups": 20}, False),
        ({"value": 0.7, "low": 0.51, "high": 0.9, "n_groups": 20}, True),
    ],
)
def test_an_experiment_is_allowed_only_above_chance(figure: object, allowed: bool) -> None:
    assert above_chance(figure) is allowed


def test_trained_exported_and_evaluated(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way of the command line with random encoders: the card fits what was written."""
    weights = tmp_path / "weights"
    weights.mkdir()
    both_weights(weights)
    which = f"--ct random-CT --mr random-MR --version 1 --steps 40 --threads 1 --weights {weights}"
    monkeypatch.setattr("sys.argv", ["fusion", "--manifest", str(manifest), *which.split()])
    training.main()
    card = read_registry(weights).fusion
    assert card is not None
    assert not any(experiment.allowed for experiment in card.experiments.values())
    assert 0 <= card.thresholds["tumour"] <= card.thresholds["raise"] <= 1
    out = tmp_path / "figures.json"
    which = f"--model fusion --split val --json {out} --weights {weights} --threads 1"
    monkeypatch.setattr("sys.argv", ["evaluate", "--manifest", str(manifest), *which.split()])
    capsys.readouterr()
    evaluate()
    figures = json.loads(out.read_text())
    assert figures["tumour"]["pairs"] == "real"
    for variant in ("both", "ct_left_out", "mr_left_out"):
        assert figures["tumour"][variant]["n"] == 1
        assert figures["synthetic"]["classes"][variant]["n"] > 4
    assert figures["grade"]["n"] == 4
    assert figures["survival"]["auc_roc"]["n_groups"] == 4
    assert "MR alone" in capsys.readouterr().out
    told = ["--figures", str(out), "--training", "40 steps on drawn slices", "--weights", str(weights)]
    monkeypatch.setattr("sys.argv", ["fusion_card", *told])
    write_card()
    text = (weights / "fusion.md").read_text()
    assert card.sha256 in text
    assert "40 steps on drawn slices" in text
    assert "| synthetic | ct left out |" in text


def test_a_fusion_goes_when_a_network_is_replaced_through_which_it_sees(tmp_path: Path) -> None:
    with_fusion(both_weights(tmp_path))
    card = read_registry(tmp_path).card("random-MR")
    enter(replace(card, name="another"), tmp_path)
    assert read_registry(tmp_path).fusion is not None
    enter(card, tmp_path)
    assert read_registry(tmp_path).fusion is None
