"""The training objective of the slice network."""

import torch
from torch import Tensor
from torch.nn import functional

from training.data.samples import UNLABELLED
from training.fit.augment import Slices
from worker.vision.network import SliceOutputs, grad_cam

LABEL_SMOOTHING = 0.02
MASK_WEIGHT, CLASS_WEIGHT, HEAD_WEIGHT, EVIDENCE_WEIGHT = 3.0, 0.5, 0.5, 0.3
ATTENTION_WEIGHT = 0.5
CLASS_BALANCE = (1.0, 1.6, 1.0)  # benign slices are drawn less often than the other two
MASK_STRIDE = 2  # the mask loss is taken at this stride of the input


def loss(outputs: SliceOutputs, truth: Slices, is_head: Tensor, tumour_gradient: Tensor) -> Tensor:
    """Sum of the heads' losses over what is known of N slices, a scalar.

    ``is_head`` (N,) is 1 for real heads and 0 for other pictures; ``tumour_gradient`` (N, channels) is the
    tumour logit's by ``outputs.pooled``. Labels are smoothed (Szegedy et al., CVPR 2016).
    """
    smooth = is_head * (1 - LABEL_SMOOTHING) + (1 - is_head) * LABEL_SMOOTHING
    return (
        _tumour(outputs.tumour, truth.tumour)
        + CLASS_WEIGHT * _classes(outputs.classes, truth.classes)
        + MASK_WEIGHT * _mask(outputs.mask, truth)
        + EVIDENCE_WEIGHT * _evidence(outputs.features, tumour_gradient, truth)
        + HEAD_WEIGHT * functional.binary_cross_entropy_with_logits(outputs.head, smooth)
    )


def soft_loss(outputs: SliceOutputs, taught: SliceOutputs) -> Tensor:
    """How far a student is from its teacher, a scalar: probabilities (Hinton et al., 2015), masks, attention.

    Attention (Zagoruyko and Komodakis, ICLR 2017) is where the stride-8 map is large; it compares maps of
    different numbers of channels.
    """
    apart = _attention(outputs.features) - _attention(taught.features)
    return (
        _same(outputs.tumour, taught.tumour)
        + CLASS_WEIGHT * functional.cross_entropy(outputs.classes, taught.classes.softmax(1))
        + MASK_WEIGHT * _same(outputs.mask, taught.mask)
        + HEAD_WEIGHT * _same(outputs.head, taught.head)
        + ATTENTION_WEIGHT * apart.square().sum(1).mean()
    )


def _same(logits: Tensor, taught: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, taught.sigmoid())


def _attention(features: Tensor) -> Tensor:
    """(N, h * w) of length 1."""
    return functional.normalize(features.square().mean(1).flatten(1), dim=1)


def _tumour(logits: Tensor, truth: Tensor) -> Tensor:
    known = truth != UNLABELLED
    target = truth.float() * (1 - 2 * LABEL_SMOOTHING) + LABEL_SMOOTHING
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * known).sum() / known.sum().clamp_min(1)


def _classes(logits: Tensor, truth: Tensor) -> Tensor:
    balance = torch.tensor(CLASS_BALANCE)
    losses = functional.cross_entropy(logits, truth, balance, reduction="sum", ignore_index=UNLABELLED)
    return losses / (truth != UNLABELLED).sum().clamp_min(1)


def _mask(logits: Tensor, truth: Slices) -> Tensor:
    """Cross entropy, plus (1 - Dice) / 3 on the slices with a lesion (Milletari et al., 3DV 2016)."""
    target = functional.avg_pool2d(truth.masks, MASK_STRIDE)
    logits = functional.interpolate(logits, target.shape[-2:], mode="bilinear", align_corners=False)
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2, 3))
    entropy = (losses * truth.masked).sum() / truth.masked.sum().clamp_min(1)
    probability = logits.sigmoid()
    overlap = 2 * (probability * target).sum((1, 2, 3)) + 1
    dice = overlap / (probability.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 1)
    lesion = truth.masked & (target.amax((1, 2, 3)) > 0)
    return entropy + ((1 - dice) * lesion).sum() / lesion.sum().clamp_min(1) / MASK_WEIGHT


def _evidence(features: Tensor, tumour_gradient: Tensor, truth: Slices) -> Tensor:
    """Share of the tumour evidence that lies off the lesion (after Ross et al., IJCAI 2017).

    A score that lives on the sequence, the framing or the scanner has its evidence everywhere.
    """
    cam = grad_cam(features, tumour_gradient)
    lesion = functional.max_pool2d(functional.adaptive_max_pool2d(truth.masks, cam.shape[-2:]), 3, 1, 1)[:, 0]
    inside = (cam * lesion).sum((1, 2)) / cam.sum((1, 2)).clamp_min(1e-4)
    known = truth.masked & (truth.tumour == 1)
    return ((1 - inside) * known).sum() / known.sum().clamp_min(1)
