"""Augmentation of CT slices: geometry, window, reconstruction kernel, noise, cupping.

It shares geometry, blur and range with ``training.fit.augment`` and stands apart for the rest: a CT's grey
levels mean something, so they are neither exchanged nor bent as those of MR; but every source was windowed in
its own way before it was stored, so the window must carry no information. Nothing is pasted: each slice is
stored with and without a synthetic mass.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.fit.augment import Slices, blurred, chosen, log_uniform, noise_level, placed, ranged, uniform

GAIN = (0.6, 1.7)  # of a narrower or wider window
LEVEL = 0.08  # shift of the window, share of its width
GAMMA = (0.8, 1.25)
NOISE_SHARE, NOISE_SIGMA = 0.6, 0.09
FINE_NOISE_SHARE = 0.5  # of the noisy: pixels are independent
CUPPING_SHARE, CUPPING = 0.3, 0.04


def ct_augmented(raw: Slices, volume_scale: Tensor, input_px: int) -> Slices:
    """Stored slices, images and masks in 0..1, to network inputs of ``input_px``, as ``augmented`` does."""
    at = placed(raw, volume_scale, input_px)
    images = ranged(_noisy(blurred(_windowed(_cupped(at.images)))))
    return Slices(images, (at.masks > 0.5).float(), at.depths, at.tumour, at.classes, at.masked)


def _windowed(images: Tensor) -> Tensor:
    count = len(images)
    gain = log_uniform(count, *GAIN)[:, None, None, None]
    level = uniform(count, -LEVEL, LEVEL)[:, None, None, None]
    gamma = log_uniform(count, *GAMMA)[:, None, None, None]
    windowed: Tensor = ((images - 0.5 - level) * gain + 0.5).clamp(0, 1) ** gamma
    return windowed * (images > 0)  # what lies outside stays black


def _cupped(images: Tensor) -> Tensor:
    """Beam hardening: the middle of the head darker or brighter than its rim."""
    count, size = len(images), images.shape[-2:]
    axis_y, axis_x = (torch.linspace(-1, 1, side) for side in size)
    radius = axis_y[:, None] ** 2 + axis_x[None, :] ** 2
    strength = uniform(count, -CUPPING, CUPPING) * chosen(count, CUPPING_SHARE)
    return images + strength[:, None, None, None] * radius * (images > 0)


def _noisy(images: Tensor) -> Tensor:
    count = len(images)
    sigma = noise_level(count, NOISE_SIGMA, NOISE_SHARE)
    fine = torch.randn_like(images)
    coarse = 2.2 * functional.avg_pool2d(fine, 3, 1, 1)
    grain = torch.where(chosen(count, FINE_NOISE_SHARE)[:, None, None, None], fine, coarse)
    return images + sigma * grain * (images > 0)
