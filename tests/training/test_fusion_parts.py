"""Parts of the fusion's training: which features belong to a pair, chances, calibration, patients."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.drawn import row
from training.data.samples import CELL_SHARES, UNLABELLED
from training.fusion import train as fusion_training
from training.fusion.evaluate import JudgedPair, judged
from training.fusion.export import RAISED_SHARE, calibrated
from training.fusion.features import (
    ABSENT,
    BATCH_SLICES,
    MIN_DEVIATION,
    Encoder,
    Features,
    PairFeatures,
    Scale,
    features_of,
    scaled,
)
from training.fusion.pairs import ALONE, REAL, SYNTHETIC, Pair, Picture
from training.fusion.patients import patient_block, patients_of, train_experiments
from training.fusion.train import KIND_SHARES, truth_of
from training.release.calibrate import TUMOUR_SENSITIVITY
from worker.vision.network import CLASSES, EFFICIENTNET_LITE0
from worker.vision.network.fusion import FusionNet, channels_of, tumour_logit

pytestmark = pytest.mark.unit

CHANNELS = sum(channels_of(EFFICIENTNET_LITE0))


def picture(level: int) -> Picture:
    return np.full((4, 4), level, np.uint8)


def pair(
    kind: str = SYNTHETIC,
    ct: int | None = None,
    mr: tuple[int, ...] = (),
    tumour: bool | None = False,
    label: str = "healthy",
    **changes: object,
) -> Pair:
    """A pair whose pictures are even; their grey level tells them apart."""
    of = row(tumour=tumour, label=label) if mr else None
    whole = Pair(
        kind,
        None if ct is None else picture(ct),
        tuple(map(picture, mr)),
        tumour,
        label,
        "lgg",
        "p",
        ("lgg", str(int(bool(tumour)))),
        of,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class GreyEncoder:
    """In place of a network: the features of a picture are its grey level, one more where it is altered."""

    asked: list[int]

    def features(self, pictures: list[Picture], altered: bool) -> Tensor:
        self.asked.append(len(pictures))
        return torch.tensor([[float(p[0, 0]) + altered] for p in pictures])

    @property
    def card(self) -> object:
        return type("Card", (), {"architecture": EFFICIENTNET_LITE0})


def seen_by(pairs: list[Pair], views: int = 1) -> tuple[Features, GreyEncoder, GreyEncoder]:
    ct, mr = GreyEncoder([]), GreyEncoder([])
    return features_of(pairs, (ct, mr), views), ct, mr  # type: ignore[arg-type]


def test_each_row_holds_the_features_of_its_pairs_pictures() -> None:
    pairs = [pair(ct=10, mr=(20,)), pair(ALONE, mr=(30, 31)), pair(ALONE, ct=40)]
    features, _, _ = seen_by(pairs)
    assert features.pair.tolist() == [0, 1, 1, 2]
    assert features.given.tolist() == [[True, True], [False, True], [False, True], [True, False]]
    ct, mr = features.inputs(torch.arange(4))
    assert ct[[0, 3]].flatten().tolist() == [10, 40]
    assert mr[[0, 1, 2]].flatten().tolist() == [20, 30, 31]


def test_a_picture_of_many_pairs_goes_through_the_encoder_once() -> None:
    shared = pair(mr=(20,))
    pairs = [replace(shared, ct=picture(level)) for level in (1, 2, 3)]
    features, ct, mr = seen_by(pairs)
    assert (ct.asked, mr.asked) == ([3], [1])
    assert features.mr_row.tolist() == [0, 0, 0]


def test_views_after_the_first_are_altered_and_keep_their_pair() -> None:
    features, _, _ = seen_by([pair(ct=10, mr=(20,)), pair(ct=11, mr=(21,))], views=3)
    assert features.pair.tolist() == [0, 1] * 3
    ct, mr = features.inputs(torch.arange(6))
    assert ct.flatten().tolist() == [10, 11, 11, 12, 11, 12]
    assert mr.flatten().tolist() == [20, 21, 21, 22, 21, 22]


def test_without_any_ct_there_is_a_row_that_stands_in() -> None:
    features, _, _ = seen_by([pair(ALONE, mr=(5,))])
    assert features.ct_row.tolist() == [ABSENT]
    assert not features.inputs(torch.tensor([0]))[0].any()


def test_an_encoder_takes_pictures_in_batches() -> None:
    asked: list[int] = []

    def engine(inputs: Tensor) -> object:
        asked.append(len(inputs))
        pooled = inputs.mean((2, 3))
        return type("Outputs", (), {"pooled": pooled, "deepest": pooled})

    card = type("Card", (), {"input_px": 8, "modality": "MR"})
    encoder = Encoder(card, engine)  # type: ignore[arg-type]
    pictures = [
        np.random.default_rng(n).integers(0, 255, (16, 16), np.uint8) for n in range(BATCH_SLICES + 1)
    ]
    for altered in (False, True):
        asked.clear()
        assert encoder.features(pictures, altered).shape == (BATCH_SLICES + 1, 2)
        assert asked == [BATCH_SLICES, 1]


def test_scaled_features_have_mean_0_and_deviation_1() -> None:
    torch.manual_seed(0)
    features = Features(torch.randn(50, 6) * 7 + 3, torch.randn(50, 6) - 9, *[torch.arange(50)] * 3)
    made = scaled(features, (Scale.of(features.ct), Scale.of(features.mr)))
    for table in (made.ct, made.mr):
        torch.testing.assert_close(table.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
        torch.testing.assert_close(table.std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)


def test_a_channel_that_hardly_varies_is_not_blown_up() -> None:
    still = torch.full((10, 4), 2.0)
    assert (Scale.of(still).deviation == MIN_DEVIATION).all()
    assert Scale.of(still).mean.tolist() == [2.0] * 4


def test_kinds_of_pairs_are_drawn_by_their_shares() -> None:
    pairs = [
        *(pair(SYNTHETIC, 1, (1,)) for _ in range(7)),
        *(pair(SYNTHETIC, 1, (1,), True, "malignant") for _ in range(3)),
        *(pair(ALONE, None, (1,)) for _ in range(5)),
        *(pair(ALONE, 1, ()) for _ in range(2)),
        pair(REAL, 1, (1,)),
    ]
    features, _, _ = seen_by(pairs)
    truth = truth_of(PairFeatures(pairs, features))
    assert truth.chance.sum() == pytest.approx(1.0)
    for (kind, with_mr), share in KIND_SHARES.items():
        of_kind = [p.kind == kind and bool(p.mr) == with_mr for p in pairs]
        assert truth.chance[of_kind].sum() == pytest.approx(share), kind
    free, ill = (truth.chance[s].sum() for s in (slice(0, 7), slice(7, 10)))
    assert free / ill == pytest.approx(CELL_SHARES["lgg", "0"] / CELL_SHARES["lgg", "1"])


def test_the_truth_of_a_pair_is_its_class_or_that_it_is_a_tumour() -> None:
    pairs = [
        pair(ct=1, mr=(1,)),
        pair(ct=1, mr=(1,), tumour=True, label="malignant"),
        pair(ALONE, ct=1, tumour=True, label="unknown"),
        pair(ALONE, mr=(1,), tumour=None, label="unknown"),
    ]
    features, _, _ = seen_by(pairs)
    truth = truth_of(PairFeatures(pairs, replace(features)))
    assert truth.target.tolist() == [0, CLASSES.index("malignant"), UNLABELLED, UNLABELLED]
    assert truth.tumour.tolist() == [0, 1, 1, UNLABELLED]


def made_features(pairs: list[Pair], per_pair: int = 1) -> PairFeatures:
    """Random features for pairs, of which each has an MR."""
    torch.manual_seed(0)
    rows = len(pairs) * per_pair
    places = torch.arange(len(pairs)).repeat_interleave(per_pair)
    table = torch.rand(rows, CHANNELS)
    return PairFeatures(
        pairs, Features(table, table, places, torch.full((rows,), ABSENT), torch.arange(rows))
    )


def network() -> FusionNet:
    torch.manual_seed(1)
    return FusionNet((EFFICIENTNET_LITE0, EFFICIENTNET_LITE0)).eval()


def test_the_grey_images_of_a_slice_are_one_answer_by_their_mean_odds() -> None:
    net, known = network(), made_features([pair(mr=(1, 2))], per_pair=2)
    (answer,) = judged(net, known, None)
    features = known.features
    with torch.no_grad():
        logits = net(*features.inputs(torch.arange(2)), features.given).classes.double()
    odds = np.exp(tumour_logit(logits).numpy()).mean()
    assert answer.tumour_logit == pytest.approx(np.log(odds))
    np.testing.assert_allclose(answer.classes, logits.mean(0).softmax(0).numpy())


def test_a_ct_alone_is_no_case_of_an_evaluation_by_rows() -> None:
    alone = JudgedPair(pair(ALONE, ct=1), 0.0, np.full(3, 1 / 3))
    with pytest.raises(ValueError, match="CT slice alone"):
        alone.case(1.0)
    whole = JudgedPair(pair(ct=1, mr=(1,)), 2.0, np.full(3, 1 / 3))
    assert whole.case(2.0).tumour == pytest.approx(1 / (1 + np.exp(-1.0)))


def test_doubt_is_raised_for_next_to_no_pair_without_a_tumour(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    pairs = [pair(mr=(1,), tumour=n % 2 == 0) for n in range(400)]
    logits = random.normal(size=400) + np.array([2.0 * bool(p.tumour) for p in pairs])
    answers = [JudgedPair(p, float(v), np.full(3, 1 / 3)) for p, v in zip(pairs, logits, strict=True)]
    answers += [JudgedPair(pair(ALONE, mr=(1,), tumour=False), 99.0, np.full(3, 1 / 3))]
    monkeypatch.setattr("training.fusion.export.judged", lambda *_: answers)
    shift, temperature, thresholds = calibrated(network(), made_features(pairs[:1]))
    probability = 1 / (1 + np.exp(-(logits + shift) / temperature))
    truth = np.array([p.tumour for p in pairs])
    assert (probability[truth] >= thresholds["tumour"]).mean() >= TUMOUR_SENSITIVITY["MR"]
    assert (probability[~truth] > thresholds["raise"]).mean() <= RAISED_SHARE
    assert thresholds["tumour"] <= thresholds["raise"]


def of_patients(answers: list[bool]) -> list[Pair]:
    """Three slices with a tumour of each patient, of whom it is known whether they died."""
    return [
        pair(ALONE, mr=(1,), tumour=True, row=row(group=f"p{n:02}", tumour=True, death=died))
        for n, died in enumerate(answers)
        for _ in range(3)
    ]


def test_a_patients_slices_are_asked_together() -> None:
    known = made_features(of_patients([True, False, True, False]))
    patients = patients_of(known, "survival")
    assert patients.names == ("p00", "p01", "p02", "p03")
    assert patients.patient.tolist() == [n for n in range(4) for _ in range(3)]
    block = patient_block(network(), known, "survival")
    assert (block["n"], block["positive"], block["unit"]) == (4, 2, "patient")


def test_without_patients_a_question_has_no_figure() -> None:
    block = patient_block(network(), made_features([pair(ct=1, mr=(1,))]), "grade")
    assert (block["n"], block["positive"], block["auc_roc"]) == (0, 0, None)


def test_experiments_change_their_head_and_no_class() -> None:
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    train = made_features(of_patients([n % 2 == 0 for n in range(12)]))
    train_experiments(net, train, train)
    changed = {name.split(".")[0] for name, t in net.state_dict().items() if not torch.equal(t, before[name])}
    assert changed == {"survival"}, "of the grade nothing is known here"
    block = patient_block(net, train, "survival")
    assert block["auc_roc"]["value"] > 0.9, "what was learnt by heart is known"  # type: ignore[index]


def test_the_best_look_at_val_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss on val rises after the first look: the weights of that look are given back."""
    torch.manual_seed(0)
    known = made_features(
        [pair(SYNTHETIC, None, (1,), n % 2 == 0, CLASSES[2 * (n % 2 == 0)]) for n in range(8)]
    )
    encoder = type("E", (), {"card": type("C", (), {"architecture": EFFICIENTNET_LITE0})})
    looks: list[dict[str, Tensor]] = []

    def rising(net: FusionNet, *_: object) -> float:
        looks.append({name: tensor.clone() for name, tensor in net.state_dict().items()})
        return float(len(looks))

    monkeypatch.setattr(fusion_training, "val_loss", rising)
    monkeypatch.setattr(fusion_training, "LOOK_EVERY", 2)
    net = fusion_training.trained((encoder, encoder), known, known, 6)  # type: ignore[arg-type]
    assert len(looks) == 3
    assert all(torch.equal(tensor, looks[0][name]) for name, tensor in net.state_dict().items())
    assert not torch.equal(looks[0]["classes.weight"], looks[2]["classes.weight"])
