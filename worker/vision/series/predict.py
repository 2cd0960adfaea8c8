"""What the network says of the slices of a volume, in batches."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from neurotriage.core.volume import Volume
from worker.vision.model import Model
from worker.vision.network import SliceOutputs, grad_cam, member_maps
from worker.vision.slices.display import Display, display_of
from worker.vision.slices.preprocess import Box, head_box_of_parts, network_inputs, to_source
from worker.vision.slices.sections import Sections
from worker.vision.slices.slice_axis import slice_positions_mm, smooth_maps
from worker.vision.slices.window import brain_window

BATCH_SLICES = 16  # more is no faster on two cores and costs memory
MAX_SLICES = 200  # about 10 s on two cores; a longer stack is looked at in evenly spread slices


@dataclass(frozen=True, slots=True, eq=False)
class InputGrid:
    """How maps over the network's input lie on the stored slices of one volume."""

    display: Display
    box: Box  # in the view
    shape: tuple[int, int]  # rows, columns as stored

    def on_source(self, maps: NDArray[np.floating]) -> NDArray[np.float32]:
        """Maps (n, h, w) to the stored grid (n, rows, columns); 0 outside the network's field of view."""
        shown = (self.shape[1], self.shape[0]) if self.display.swap else self.shape
        return self.display.restore(to_source(maps, self.box, shown))


@dataclass(frozen=True, slots=True, eq=False)
class MemberFeatures:
    """What one network of a model saw of n slices, for a score that is worked out later."""

    features: NDArray[np.float32]  # (n, channels) ``pooled`` and ``deepest``
    maps: NDArray[np.float16]  # (n, C, fh, fw) whose average ``pooled`` is


@dataclass(frozen=True, slots=True, eq=False)
class SlicePredictions:
    """The network's word on n slices of one volume; probabilities are calibrated, 0..1."""

    indices: NDArray[np.intp]  # (n,) which slices of the volume, ascending
    tumour: NDArray[np.float64]  # (n,)
    classes: NDArray[np.float64]  # (n, 3): healthy, benign, malignant
    head: NDArray[np.float64]  # (n,) a slice through a head
    features: NDArray[np.float32]  # (n, channels) by which a slice is like the training data or not
    masks: NDArray[np.float32]  # (n, h, w) lesion, over the network's input; smoothed along the slice axis
    heat: NDArray[np.float32]  # (n, fh, fw) Grad-CAM of the tumour logit, not scaled
    grid: InputGrid
    seen: MemberFeatures | None = None  # by one of the networks, where it was asked for


def predict(volume: Volume, sections: Sections, model: Model, seen_by: int | None = None) -> SlicePredictions:
    """Run the network over a volume; more than ``MAX_SLICES`` slices are thinned evenly.

    ``seen_by``: place among the model's networks of that one whose sight is kept.
    What the network says of a slice that shows next to nothing has no meaning: tumour, mask and heat are 0,
    and no neighbour's mask is smoothed with it.
    """
    indices = looked_at(len(volume.voxels))
    display = display_of(volume)
    parts = [indices[start : start + BATCH_SLICES] for start in range(0, len(indices), BATCH_SLICES)]
    shown = (display.show(as_seen(volume, part)) for part in parts)
    box = head_box_of_parts(shown, display.spacing_mm(volume.pixel_spacing_mm))
    shown = (display.show(as_seen(volume, part)) for part in parts)
    inputs = (network_inputs(some, box, model.card.input_px) for some in shown)
    batches = [_batch(some, model, seen_by) for some in inputs]
    tumour, classes, head, features, masks, heat, *kept = (
        np.concatenate(rows) for rows in zip(*batches, strict=True)
    )
    grid = InputGrid(display, box, (volume.voxels.shape[1], volume.voxels.shape[2]))
    filled = sections.shares[indices] >= model.rule.blank_section
    along_mm = slice_positions_mm(volume)[indices]
    masks[filled] = smooth_maps(masks[filled], along_mm[filled], model.rule.mask_smoothing_mm)
    shows = filled.astype(np.float32)
    masks, heat = masks * shows[:, None, None], heat * shows[:, None, None]
    seen = MemberFeatures(*kept) if kept else None
    return SlicePredictions(indices, tumour * shows, classes, head, features, masks, heat, grid, seen)


def as_seen(volume: Volume, indices: NDArray[np.intp]) -> NDArray[np.float32]:
    """Slices as the network knows them from training: CT through the brain window, MR as stored."""
    voxels = volume.voxels[indices]
    return brain_window(voxels) if volume.modality == "CT" else voxels


def looked_at(slices: int) -> NDArray[np.intp]:
    """Indices of the slices that go through the network."""
    return np.unique(np.linspace(0, slices - 1, min(slices, MAX_SLICES)).round().astype(np.intp))


def known_by(outputs: SliceOutputs) -> torch.Tensor:
    """(N, C) by which odd slices are told: the averages of the network's last and of its deepest map.

    The last map knows tumours, the deepest one what kind of picture it is.
    """
    return torch.cat([outputs.pooled, outputs.deepest], dim=1)


@torch.inference_mode()
def _batch(inputs: NDArray[np.float32], model: Model, seen_by: int | None) -> tuple[NDArray[np.generic], ...]:
    outputs = model.engine(torch.from_numpy(inputs))
    heat = grad_cam(outputs.features, model.network.tumour_gradient(outputs.pooled))
    tensors: tuple[torch.Tensor, ...] = (
        torch.sigmoid(outputs.tumour.double() / model.card.temperature),
        torch.softmax(outputs.classes.double(), dim=1),
        torch.sigmoid(outputs.head.double()),
        known_by(outputs),
        torch.sigmoid(outputs.mask[:, 0]),
        heat,
    )
    if seen_by is not None:
        maps, pooled, deepest = member_maps(model.network, outputs, seen_by)
        tensors = *tensors, torch.cat([pooled, deepest], 1), maps.half()
    return tuple(tensor.numpy() for tensor in tensors)
