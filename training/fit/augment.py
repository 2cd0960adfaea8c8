"""Augmentation of a batch, on tensors: geometry, contrast, scanner faults and pasted lesions.

What the data lack decides what is varied: every source has its own sequence, framing and grey scale
(so these must carry no information), and no healthy person has contrast agent (so lesions are pasted into
tumour-free slices, and pieces of healthy tissue too, lest the pasting itself becomes the sign).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.data.samples import CONTEXT, UNLABELLED
from worker.vision.slices.preprocess import RANGE_PERCENTILES

TURN_DEG = 20.0
QUARTER_TURN_SHARE = 0.06
FLIP_ROWS_SHARE = 0.06
SHIFT = 0.08  # of the box
STRETCH = 0.08  # log of the aspect, one sigma
SCALE_RANGE = (0.78, 1.2)
VOLUME_SCALE_SHARE = 0.5  # draws shown as small as in the box of their whole series
STRIP_SHARE, STRIP_PX = 0.12, (7.0, 16.0)  # skull stripping, in depths as below
STRIP_LESION_LOSS = 0.2
CURVE_SHARE, FREE_CURVE_SHARE, INVERT_SHARE = 0.6, 0.06, 0.12
BIAS_SHARE, BIAS_SIGMA = 0.4, 0.25
NOISE_SHARE, NOISE_SIGMA = 0.4, 0.07
BLUR_SHARE, BLUR_FACTORS = 0.25, (1.4, 3.2)
LESION_PASTE_SHARE, TISSUE_PASTE_SHARE = 0.12, 0.12  # of the tumour-free slices
HEAD_DEPTH_PX = 5.0  # a pasted lesion lies at least this deep
PASTED_PART = 0.7  # of a lesion must find room


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """N slices with their truth; images and lesion masks float (N, 1, S, S) in 0..1."""

    images: Tensor
    masks: Tensor
    depths: Tensor  # (N, 1, S, S), distance to the outside of the head, sides of the picture / STORED_PX
    tumour: Tensor  # (N,) 1, 0 or UNLABELLED
    classes: Tensor  # (N,)
    masked: Tensor  # (N,) bool


def augmented(raw: Slices, volume_scale: Tensor, input_px: int) -> Slices:
    """Stored slices, images and masks in 0..1, to network inputs of ``input_px``.

    ``volume_scale`` (N,) is the side of a slice's head box, in sides of its volume's. Random numbers are
    torch's.
    """
    pasted = _pasted(placed(_stripped(raw), volume_scale, input_px))
    images = _scanned(_recoloured(pasted.images, pasted.depths))
    return Slices(
        images, (pasted.masks > 0.5).float(), pasted.depths, pasted.tumour, pasted.classes, pasted.masked
    )


def chosen(count: int, share: float) -> Tensor:
    """(count,) True for about ``share`` of them."""
    return torch.rand(count) < share


def uniform(count: int, low: float, high: float) -> Tensor:
    """(count,) between low and high."""
    return low + (high - low) * torch.rand(count)


def log_uniform(count: int, low: float, high: float) -> Tensor:
    """(count,) between low and high, their logarithms evenly spread."""
    return torch.exp(uniform(count, math.log(low), math.log(high)))


def noise_level(count: int, highest: float, share: float) -> Tensor:
    """(count, 1, 1, 1) deviation of each slice's noise; 0 for all but about ``share`` of them."""
    return (uniform(count, 0, highest) * chosen(count, share))[:, None, None, None]


def _stripped(raw: Slices) -> Slices:
    """Takes skull and scalp away from some heads, where that spares the lesion."""
    count = len(raw.images)
    keep = (raw.depths > uniform(count, *STRIP_PX)[:, None, None, None]).float()
    lesion = raw.masks.sum((1, 2, 3))
    spared = (raw.masks * keep).sum((1, 2, 3)) >= (1 - STRIP_LESION_LOSS) * lesion
    strip = (chosen(count, STRIP_SHARE) & spared & (keep.mean((1, 2, 3)) > 0.1))[:, None, None, None]
    images = torch.where(strip, raw.images * keep, raw.images)
    return Slices(images, raw.masks, raw.depths, raw.tumour, raw.classes, raw.masked)


def placed(raw: Slices, volume_scale: Tensor, input_px: int) -> Slices:
    """Shifted, turned, stretched, mirrored and scaled at random, on a grid of ``input_px``.

    Picture, mask and depth go through the same map, bilinear; outside the stored picture all are 0.
    """
    stacked = torch.cat([raw.images, raw.masks, raw.depths], 1)
    grid = functional.affine_grid(
        _affine(volume_scale), [len(stacked), 3, input_px, input_px], align_corners=False
    )
    image, mask, depth = functional.grid_sample(stacked, grid, align_corners=False).unbind(1)
    return Slices(image[:, None], mask[:, None], depth[:, None], raw.tumour, raw.classes, raw.masked)


def _affine(volume_scale: Tensor) -> Tensor:
    """(N, 2, 3) from output to stored coordinates, both -1..1."""
    count = len(volume_scale)
    scale = log_uniform(count, *SCALE_RANGE)
    scale = torch.where(chosen(count, VOLUME_SCALE_SHARE), scale * volume_scale, scale)
    angle = torch.deg2rad(uniform(count, -TURN_DEG, TURN_DEG))
    quarters = torch.where(chosen(count, QUARTER_TURN_SHARE), torch.randint(1, 4, (count,)), 0)
    angle = angle + quarters * (math.pi / 2)
    stretch = torch.exp(torch.randn(count) * STRETCH)
    flip_x = 1 - 2 * chosen(count, 0.5).float()
    flip_y = 1 - 2 * chosen(count, FLIP_ROWS_SHARE).float()
    size = 1 / (CONTEXT * scale)
    cos, sin = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack([cos * stretch * flip_x, -sin * flip_y, sin * flip_x, cos / stretch * flip_y], 1)
    shift = (torch.rand(count, 2) * 2 - 1) * SHIFT * 2 / CONTEXT
    return torch.cat([matrix.view(-1, 2, 2) * size[:, None, None], shift[:, :, None]], 2)


def _pasted(raw: Slices) -> Slices:
    """Lesions of other slices, or healthy tissue in a lesion's shape, put into tumour-free slices.

    After CarveMix (Zhang et al., MICCAI 2021).
    """
    count = len(raw.images)
    free = (raw.tumour == 0) & raw.masked
    donors = torch.nonzero(raw.masks.amax((1, 2, 3)) > 0.9).flatten()
    healthy = torch.nonzero(free).flatten()
    if len(donors) == 0 or len(healthy) == 0:
        return raw
    shape = donors[torch.randint(len(donors), (count,))]
    draw = torch.rand(count)
    lesion = draw < LESION_PASTE_SHARE
    tissue = (draw >= LESION_PASTE_SHARE) & (draw < LESION_PASTE_SHARE + TISSUE_PASTE_SHARE)
    origin = torch.where(lesion, shape, healthy[torch.randint(len(healthy), (count,))])
    hosts = torch.nonzero(free & (lesion | tissue)).flatten()
    mask = raw.masks[shape[hosts]] * (raw.depths[hosts] > HEAD_DEPTH_PX)
    fits = mask.sum((1, 2, 3)) > PASTED_PART * raw.masks[shape[hosts]].sum((1, 2, 3))
    hosts, mask = hosts[fits], mask[fits]
    images, masks, tumour, classes = (t.clone() for t in (raw.images, raw.masks, raw.tumour, raw.classes))
    images[hosts] = _blend(raw.images[hosts], raw.images[origin[hosts]], mask)
    hit = lesion[hosts]
    masks[hosts[hit]], tumour[hosts[hit]], classes[hosts[hit]] = mask[hit], 1, UNLABELLED
    return Slices(images, masks, raw.depths, tumour, classes, raw.masked)


def _blend(host: Tensor, guest: Tensor, mask: Tensor) -> Tensor:
    """The guest inside a soft-edged mask, its surroundings' level and spread matched to the host's."""
    soft = functional.avg_pool2d(functional.max_pool2d(mask, 3, 1, 1), 5, 1, 2)
    ring = (functional.max_pool2d(mask, 13, 1, 6) - functional.max_pool2d(mask, 3, 1, 1)).clamp(0, 1)

    def level(image: Tensor) -> Tensor:
        return ((image * ring).sum((2, 3)) / ring.sum((2, 3)).clamp_min(1)).clamp_min(0.05)[..., None, None]

    matched = guest * (level(host) / level(guest)).clamp(0.4, 2.5)
    return host * (1 - soft) + matched * soft


def _recoloured(images: Tensor, depths: Tensor) -> Tensor:
    """Another contrast: a grey curve per slice, monotone or free, or dark and bright exchanged."""
    count = len(images)
    points = 7
    steps = torch.exp(torch.randn(count, points - 1))
    monotone = functional.pad(steps.cumsum(1) / steps.sum(1, keepdim=True), (1, 0))
    free = functional.pad(torch.rand(count, points - 1), (1, 0))
    straight = torch.linspace(0, 1, points).expand(count, -1)
    curve = torch.where(chosen(count, CURVE_SHARE)[:, None], monotone, straight)
    curve = torch.where(chosen(count, FREE_CURVE_SHARE)[:, None], free, curve)
    images = _through_curve(images, curve)
    inside = (depths / 2).clamp(0, 1)
    inverted = inside * (1 - images)
    return torch.where(chosen(count, INVERT_SHARE)[:, None, None, None], inverted, images)


def _through_curve(images: Tensor, curve: Tensor) -> Tensor:
    """Piecewise linear through equally spaced points (N, P)."""
    last = curve.shape[1] - 1
    position = images.flatten(1).clamp(0, 1) * last
    left = position.long().clamp_max(last - 1)
    low, high = curve.gather(1, left), curve.gather(1, left + 1)
    return (low + (high - low) * (position - left)).view_as(images)


def _scanned(images: Tensor) -> Tensor:
    """Bias field, blur by a coarser matrix, Rician noise; then the range as at run time.

    Noise of magnitude images is Rician (Gudbjartsson and Patz, Magn. Reson. Med. 1995).
    """
    count, size = len(images), images.shape[-2:]
    field = torch.randn(count, 1, 3, 3) * BIAS_SIGMA * chosen(count, BIAS_SHARE)[:, None, None, None]
    images = images * torch.exp(functional.interpolate(field, size, mode="bicubic", align_corners=True))
    images = blurred(images)
    sigma = noise_level(count, NOISE_SIGMA, NOISE_SHARE)
    images = torch.hypot(images + sigma * torch.randn_like(images), sigma * torch.randn_like(images))
    return ranged(images)


def ranged(images: Tensor) -> Tensor:
    """Images (N, 1, S, S) with the range of grey levels as at run time, a little more or less bright."""
    low, high = torch.quantile(
        images[..., ::2, ::2].flatten(1), torch.tensor([p / 100 for p in RANGE_PERCENTILES]), dim=1
    )[:, :, None, None, None]
    gain = uniform(len(images), 0.85, 1.1)[:, None, None, None]
    scaled: Tensor = (images - low) / (high - low).clamp_min(1e-3) * gain
    return scaled.clamp(0, 1)


def blurred(images: Tensor) -> Tensor:
    """Images (N, 1, S, S), some of them through a coarser matrix, in both directions or in one."""
    result = images.clone()
    size = images.shape[-2:]
    for index in torch.nonzero(chosen(len(images), BLUR_SHARE)).flatten().tolist():
        factors = uniform(2, *BLUR_FACTORS)
        if torch.rand(()) < 0.4:
            factors[int(torch.randint(2, ()))] = 1.0
        coarse = [max(8, round(side / float(factor))) for side, factor in zip(size, factors, strict=True)]
        small = functional.interpolate(images[index, None], coarse, mode="bilinear", antialias=True)
        result[index] = functional.interpolate(small, size, mode="bilinear")[0]
    return result
