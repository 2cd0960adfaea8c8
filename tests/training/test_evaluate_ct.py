"""CT without real tumours: figures of synthetic masses, and of whole volumes as a worker reports them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.training.drawn import ct_picture, outputs, write_both, write_nifti
from tests.vision.synthetic import ct_head, write_weights
from training.__main__ import main
from training.data.samples import STORED_PX
from training.data.volumes import VolumeRow
from training.evaluation import synthetic_masses, volumes
from training.evaluation.metrics import MASK_SHARES
from training.evaluation.synthetic_masses import (
    SEEN,
    CtScores,
    ct_val_scores,
    held_apart,
    mass_against_bleeds,
    report,
    scores,
    volume_scores,
    with_against_without,
)
from training.evaluation.volumes import evaluate_volumes
from training.synthetic_ct.hosts import Host, host
from training.synthetic_ct.samples import BLEEDS, MIMIC, CtCase
from worker.vision import load_models
from worker.vision.network import CT_CLASSES, MOBILENET_V2, SliceNet, SliceOutputs
from worker.vision.registry.registry import ModelCard

CARD = ModelCard(
    name="ct-light",
    version="0",
    file="x.safetensors",
    sha256="ab",
    modality="CT",
    input_px=64,
    temperature=1.0,
    thresholds={"tumour": 0.5, "mask": MASK_SHARES[0]},
    classes=CT_CLASSES,
)
NOTHING = np.zeros((STORED_PX, STORED_PX), bool)


def case(kind: str, of: Host) -> CtCase:
    mass = NOTHING.copy()
    mass[80:100, 80:100] = kind == "mass"
    return CtCase(of, kind, of.picture, mass)


def made(kinds: list[tuple[str, str]], tumour: list[float], alike: list[float] | None = None) -> CtScores:
    """Scores of cases (source, kind); cases of one source are of one slice."""
    hosts = {source: host(ct_picture(seed), source, source) for seed, (source, _) in enumerate(kinds)}
    classes = np.full((len(kinds), 3), 0.2)
    if alike:
        classes[:, MIMIC] = alike
    overlap = np.array([[0.5 if kind == "mass" else np.nan] * len(MASK_SHARES) for _, kind in kinds])
    cases = tuple(case(kind, hosts[source]) for source, kind in kinds)
    return CtScores(cases, np.array(tumour), classes, overlap)


@pytest.mark.unit
def test_each_source_is_compared_with_itself() -> None:
    kinds = [("a", "plain"), ("a", "mass"), ("b", "plain"), ("b", "mass")]
    judged = made(kinds, [5.0, 6.0, 1.0, 0.0])
    assert with_against_without(judged) == {"a": 1.0, "b": 0.0}


@pytest.mark.unit
def test_masses_are_held_against_real_and_synthetic_look_alikes_and_not_against_plain_slices() -> None:
    kinds = [("a", "mass"), ("a", "look_alike"), (BLEEDS, "plain"), ("a", "plain")]
    assert mass_against_bleeds(made(kinds, [1.0, 0.0, 0.0, 9.0])) == 1.0
    assert mass_against_bleeds(made(kinds, [1.0, 2.0, 0.0, -9.0])) == 0.5


@pytest.mark.unit
def test_a_run_is_judged_by_its_worst_source_too() -> None:
    sources = ("brainstroke-normal", "headct-normal")
    kinds = [(s, k) for s in sources for k in ("plain", "mass")] + [(BLEEDS, "plain")]
    judged = made(kinds, [0.0, 1.0, 1.0, 0.0, -5.0], [0.1, 0.1, 0.1, 0.1, 0.9])
    by_hand = {"with_without": 0.5, "worst_source": 0.0, "against_bleeds": 1.0, "bleeds": 1.0, "dice": 0.5}
    assert ct_val_scores(judged) == by_hand


@pytest.mark.unit
def test_the_report_can_be_written_without_any_real_tumour() -> None:
    kinds = [("headct-normal", k) for k in ("plain", "mass", "look_alike")] + [(BLEEDS, "plain")]
    figures = json.loads(json.dumps(report(made(kinds, [0.0, 2.0, 1.0, -1.0]), CARD)))
    assert figures["cases"] == {"look_alike": 1, "mass": 1, "plain": 2}
    assert figures["real_tumours"] == 0
    assert figures["mean_probability"]["real"] is None
    assert figures["mean_probability"]["mass"] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert figures["synthetic_difference_logit"]["mean"] == pytest.approx(2.0), "the mass less the same slice"
    assert figures["synthetic_pairs_in_order"] == {"headct-normal": 1.0}


@pytest.mark.unit
def test_a_score_that_follows_the_border_is_found_out() -> None:
    """Slices alike but for their border, and a score that grows with it."""
    cases = []
    for level in range(6):
        of = host(ct_picture(0), "headct-normal", str(level))
        framed = np.asarray(of.picture).copy()
        framed[:3] = framed[-3:] = level / 10
        cases.append(CtCase(of, "plain", framed, NOTHING))
    judged = CtScores(tuple(cases), np.arange(6.0), np.full((6, 3), 0.3), np.full((6, len(MASK_SHARES)), 0.5))
    correlations = synthetic_masses._correlations(judged, judged.of("plain"))
    assert correlations["border"] == pytest.approx(1.0, abs=1e-6)
    assert abs(correlations["white_share"]) < 1e-6


class Oracle:
    """Answers with the mean grey of a picture, and outlines what is white."""

    def __call__(self, inputs: torch.Tensor) -> SliceOutputs:
        bright = (inputs > 0.97).float()
        return outputs(len(inputs), tumour=inputs.mean((1, 2, 3)), mask=(bright - 0.5) * 20)


@pytest.mark.unit
def test_cases_are_scored_in_their_order_and_masses_by_their_overlap() -> None:
    drawn = host(ct_picture(), "headct-normal", "g")
    region = NOTHING.copy()
    region[70:110, 70:110] = True
    marked = np.where(region, np.float32(1), drawn.picture * np.float32(0.5))
    plain = CtCase(drawn, "plain", drawn.picture * np.float32(0.5), NOTHING)
    cases = (plain, CtCase(drawn, "mass", marked, region), plain)
    judged = scores(Oracle(), cases, 64)  # type: ignore[arg-type]
    assert judged.tumour[0] == judged.tumour[2]
    assert judged.tumour[1] != judged.tumour[0]
    assert np.isnan(judged.overlap[0]).all(), "of a slice without a mass there is no overlap"
    assert judged.dice(MASK_SHARES[4]) > 0.85
    np.testing.assert_allclose(judged.classes.sum(1), 1.0)
    assert SEEN.width_px < STORED_PX


def test_cases_held_apart_are_of_their_split_and_the_same_each_time(tmp_path: Path) -> None:
    manifest = write_both(tmp_path)
    first, again = held_apart(manifest, "val"), held_apart(manifest, "val")
    assert {c.host.group for c in first} == {f"ct-val{n}" for n in range(4)}
    assert {"plain", "mass", "look_alike"} <= {c.kind for c in first}
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(first, again, strict=True))


def volume_array(seed: int = 0) -> NDArray[np.float32]:
    """A drawn CT head as an array (right, front, head)."""
    head = ct_head(shape=(16, 48, 48), spacing_mm=(3.6, 3.6), step_mm=9.0)
    noise = np.random.default_rng(seed).normal(0, 2, head.voxels.shape)
    return np.asarray(head.voxels + noise, np.float32)[:, ::-1, ::-1].transpose(2, 1, 0)


def test_volumes_free_of_tumour_get_the_highest_score_of_their_slices(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in ("a", "b", "c"):
        write_nifti(tmp_path / f"{name}.nii.gz", volume_array(), (3.6, 3.6, 9.0))
    path = tmp_path / "volumes.csv"
    path.write_text("path,modality,split\na.nii.gz,CT,val\nb.nii.gz,CT,test\nc.nii.gz,MR,val\n")
    judged = volume_scores(SliceNet(MOBILENET_V2).eval(), path, ("val",), 64)
    assert list(judged) == ["a.nii.gz"], "only CT of the splits asked for"
    assert judged["a.nii.gz"]["split"] == "val"
    assert np.isfinite(judged["a.nii.gz"]["tumour_logit"])
    assert 0 < judged["a.nii.gz"]["look_alike"] < 1


def test_volumes_are_judged_as_a_worker_does_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    weights = tmp_path / "weights"
    weights.mkdir()
    write_weights(weights, 0, "CT")
    for name in ("well", "ill"):
        write_nifti(tmp_path / f"{name}.nii.gz", volume_array(), (3.6, 3.6, 9.0))
    path = tmp_path / "volumes.csv"
    lines = ["path,modality,tumour,label,split", "well.nii.gz,CT,0,healthy,val", "ill.nii.gz,CT,1,tumour,val"]
    path.write_text("\n".join([*lines, "x.nii.gz,MR,0,healthy,val", "y.nii.gz,CT,0,healthy,test", ""]))
    out = tmp_path / "out.json"
    where = ["--volumes", str(path), "--weights", str(weights), "--json", str(out)]
    main(["evaluate-volumes", *where, "--split", "val", "--modality", "CT"])
    figures = json.loads(out.read_text())
    assert figures["n"] == {"healthy": 1, "tumour": 1}
    assert [row["path"] for row in figures["volumes"]] == ["well.nii.gz", "ill.nii.gz"]
    assert "path=well.nii.gz" in capsys.readouterr().out
    outcomes = iter(["present", "absent"])
    monkeypatch.setattr(
        volumes, "judged", lambda row, _: {"tumour": row.tumour, "outcome": next(outcomes), "path": row.path}
    )
    rows = [VolumeRow(Path(n), "CT", "", t, "", "", n, "") for n, t in (("well", False), ("ill", True))]
    wrong = evaluate_volumes(rows, load_models(weights, threads=1))
    assert (wrong["present_on_healthy"], wrong["absent_on_tumour"]) == (1, 1)
    assert (wrong["undetermined_on_healthy"], wrong["undetermined_on_tumour"]) == (0, 0)
