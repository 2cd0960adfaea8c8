"""The training objective against values worked out by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.training.drawn import outputs, slices
from training.data.samples import UNLABELLED
from training.fit import losses
from training.fit.augment import Slices
from training.fit.losses import (
    ATTENTION_WEIGHT,
    CLASS_BALANCE,
    CLASS_WEIGHT,
    EVIDENCE_WEIGHT,
    HEAD_WEIGHT,
    LABEL_SMOOTHING,
    MASK_WEIGHT,
    loss,
    soft_loss,
)

pytestmark = pytest.mark.unit

HALF = math.log(2)  # cross entropy of an answer that is undecided between two


def entropy(target: float, probability: float) -> float:
    """Cross entropy by its definition."""
    return -target * math.log(probability) - (1 - target) * math.log(1 - probability)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def nothing(count: int) -> Slices:
    """Slices of which nothing is known."""
    return slices(torch.zeros(count, 16, 16))


def test_the_tumour_loss_is_the_mean_over_known_slices() -> None:
    logits, truth = torch.tensor([2.0, -1.0, 50.0]), torch.tensor([1, 0, UNLABELLED])
    smooth = LABEL_SMOOTHING
    by_hand = (entropy(1 - smooth, sigmoid(2.0)) + entropy(smooth, sigmoid(-1.0))) / 2
    assert float(losses._tumour(logits, truth)) == pytest.approx(by_hand, rel=1e-5)


def test_smoothed_labels_punish_certainty() -> None:
    truth = torch.tensor([1])
    best = math.log((1 - LABEL_SMOOTHING) / LABEL_SMOOTHING)
    values = [
        float(losses._tumour(torch.tensor([logit]), truth)) for logit in (best - 1, best, best + 1, 30.0)
    ]
    assert values[1] == min(values)
    assert values[3] > values[2]


def test_the_class_loss_weighs_benign_slices_more() -> None:
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [9.0, 9.0, -9.0]])
    truth = torch.tensor([0, 1, UNLABELLED])
    right = math.e / (math.e + 2)
    by_hand = -(CLASS_BALANCE[0] + CLASS_BALANCE[1]) * math.log(right) / 2
    assert float(losses._classes(logits, truth)) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("part", [losses._tumour, losses._classes])
def test_a_batch_without_labels_costs_nothing(part: object) -> None:
    logits = torch.randn(3) if part is losses._tumour else torch.randn(3, 3)
    assert float(part(logits, torch.full((3,), UNLABELLED))) == 0  # type: ignore[operator]


def lesion_batch(masked: list[bool]) -> Slices:
    """Two slices of 16 x 16 px: a square lesion of 8 x 8, and none."""
    masks = torch.zeros(2, 16, 16)
    masks[0, 4:12, 4:12] = 1
    return slices(torch.zeros(2, 16, 16), masks, [1, 0], masked)


def test_the_mask_loss_is_cross_entropy_plus_a_third_of_what_dice_lacks() -> None:
    truth = lesion_batch([True, True])
    undecided = torch.zeros(2, 1, 4, 4)
    area, inside = 64, 16  # pixels at stride 2, and those of the lesion
    dice = (2 * 0.5 * inside + 1) / (0.5 * area + inside + 1)
    by_hand = HALF + (1 - dice) / MASK_WEIGHT
    assert float(losses._mask(undecided, truth)) == pytest.approx(by_hand, rel=1e-5)


def test_a_perfect_mask_costs_next_to_nothing() -> None:
    truth = lesion_batch([True, True])
    target = functional.avg_pool2d(truth.masks, losses.MASK_STRIDE)
    assert float(losses._mask((target - 0.5) * 60, truth)) == pytest.approx(0.0, abs=1e-3)


def test_a_slice_of_unknown_mask_is_left_out() -> None:
    wrong = torch.zeros(2, 1, 8, 8)
    wrong[0] = 40.0  # of the slice whose mask is not known
    wrong[1] = -40.0
    assert float(losses._mask(wrong, lesion_batch([False, True]))) == pytest.approx(0.0, abs=1e-6)
    assert float(losses._mask(wrong, lesion_batch([True, True]))) > 5


def evidence(features: Tensor, truth: Slices) -> float:
    """With a gradient of 1 for every channel the map is the sum over channels."""
    return float(losses._evidence(features, torch.ones(features.shape[:2]), truth))


def test_evidence_on_the_lesion_costs_nothing_and_elsewhere_all() -> None:
    truth = lesion_batch([True, True])
    on, off = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    on[:, :, 1:3, 1:3], off[:, :, 0, 0] = 1.0, 1.0
    truth.masks[0, 0, 4:12, 4:12] = 0
    truth.masks[0, 0, 12:, 12:] = 1  # the last cell, and by the tolerance its neighbours
    assert evidence(off, truth) == pytest.approx(1.0)
    truth.masks[0, 0] = 0
    truth.masks[0, 0, 4:12, 4:12] = 1
    assert evidence(on, truth) == pytest.approx(0.0)


def test_even_evidence_costs_the_share_off_the_lesion() -> None:
    truth = lesion_batch([True, True])
    truth.masks[0, 0] = 0
    truth.masks[0, 0, :4, :4] = 1  # one cell of 4 x 4, and with its neighbours four of sixteen
    assert evidence(torch.ones(2, 1, 4, 4), truth) == pytest.approx(12 / 16)


def test_only_tumours_with_a_mask_are_asked_for_evidence() -> None:
    for known, tumour in (([False, False], [1, 0]), ([True, True], [0, 0]), ([True, True], [UNLABELLED] * 2)):
        truth = slices(torch.zeros(2, 16, 16), torch.zeros(2, 16, 16), tumour, known)
        assert evidence(torch.rand(2, 1, 4, 4), truth) == 0


def test_of_unknown_slices_the_head_alone_counts() -> None:
    is_head = torch.tensor([1.0, 0.0])
    answers = outputs(2, head=torch.tensor([3.0, 3.0]))
    by_hand = (entropy(1 - LABEL_SMOOTHING, sigmoid(3.0)) + entropy(LABEL_SMOOTHING, sigmoid(3.0))) / 2
    value = loss(answers, nothing(2), is_head, torch.ones(2, 2))
    assert float(value) == pytest.approx(HEAD_WEIGHT * by_hand, rel=1e-5)


def test_the_objective_is_the_weighted_sum_of_its_parts() -> None:
    torch.manual_seed(0)
    truth = lesion_batch([True, True])
    truth = Slices(truth.images, truth.masks, truth.depths, truth.tumour, torch.tensor([2, 0]), truth.masked)
    answers = outputs(2, tumour=torch.randn(2), classes=torch.randn(2, 3), features=torch.rand(2, 2, 4, 4))
    gradient, is_head = torch.rand(2, 2), torch.ones(2)
    by_hand = (
        losses._tumour(answers.tumour, truth.tumour)
        + CLASS_WEIGHT * losses._classes(answers.classes, truth.classes)
        + MASK_WEIGHT * losses._mask(answers.mask, truth)
        + EVIDENCE_WEIGHT * losses._evidence(answers.features, gradient, truth)
        + HEAD_WEIGHT * HALF
    )
    torch.testing.assert_close(loss(answers, truth, is_head, gradient), by_hand)


def test_an_undecided_student_of_an_undecided_teacher() -> None:
    by_hand = HALF * (1 + MASK_WEIGHT + HEAD_WEIGHT) + CLASS_WEIGHT * math.log(3)
    assert float(soft_loss(outputs(2), outputs(2))) == pytest.approx(by_hand, rel=1e-5)


def test_attention_compares_places_and_not_channels_or_strength() -> None:
    left, right = torch.zeros(1, 2, 4, 4), torch.zeros(1, 5, 4, 4)
    left[..., 0], right[..., 3] = 1.0, 1.0
    same_place = torch.zeros(1, 5, 4, 4)
    same_place[..., 0] = 7.0
    student = outputs(1, features=left)
    apart = soft_loss(student, outputs(1, features=right)) - soft_loss(
        student, outputs(1, features=same_place)
    )
    assert float(apart) == pytest.approx(ATTENTION_WEIGHT * 2, rel=1e-5), (
        "two maps of length 1 at right angles"
    )


def test_a_sure_teacher_pulls_an_undecided_student() -> None:
    student = outputs(1, tumour=torch.zeros(1, requires_grad=True))
    soft_loss(student, outputs(1, tumour=torch.tensor([4.0]))).backward()  # type: ignore[no-untyped-call]
    assert student.tumour.grad is not None
    assert float(student.tumour.grad) == pytest.approx(0.5 - sigmoid(4.0), rel=1e-4)
