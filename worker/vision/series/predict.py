"""A network run over the slices of a volume, in batches."""

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
MAX_SLICES = 200  # about 10 s on two cores; of a longer stack, evenly spread slices are taken


@dataclass(frozen=True, slots=True, eq=False)
class InputGrid:
    """Where the network's input lies on the stored slices of one volume."""

    display: Display
    box: Box  # in pixels of the view
    shape: tuple[int, int]  # rows, columns as stored

    def on_source(self, maps: NDArray[np.floating]) -> NDArray[np.float32]:
        """Maps (n, h, w) over the input to the stored grid (n, rows, columns); 0 outside the input."""
        shown = (self.shape[1], self.shape[0]) if self.display.swap else self.shape
        return self.display.restore(to_source(maps, self.box, shown))


@dataclass(frozen=True, slots=True, eq=False)
class MemberFeatures:
    """The features that one network of a model gave for n slices, as the fusion takes them."""

    features: NDArray[np.float32]  # (n, channels) ``pooled`` and ``deepest``
    maps: NDArray[np.float16]  # (n, C, fh, fw) whose average ``pooled`` is


@dataclass(frozen=True, slots=True, eq=False)
class SlicePredictions:
    """A model's answers on n slices of one volume; probabilities are 0..1."""

    indices: NDArray[np.intp]  # (n,) which slices of the volume, ascending
    tumour: NDArray[np.float64]  # (n,) calibrated
    classes: NDArray[np.float64]  # (n, 3) in the order of the card's classes
    head: NDArray[np.float64]  # (n,) of being a slice through a head
    features: NDArray[np.float32]  # (n, channels) for the distance from the training data
    masks: NDArray[
        np.float32
    ]  # (n, h, w) of a lesion, over the network's input; smoothed along the slice axis
    heat: NDArray[np.float32]  # (n, fh, fw) Grad-CAM of the tumour logit, not scaled
    grid: InputGrid
    member_features: MemberFeatures | None = None  # None where no member was asked for


def predict(volume: Volume, sections: Sections, model: Model, member: int | None = None) -> SlicePredictions:
    """Run the network over a volume; of more than ``MAX_SLICES`` slices, evenly spread ones are taken.

    ``member``: the place among the model's networks of the one whose features are kept for the fusion.
    The network's answer on a nearly blank slice has no meaning: its tumour, mask and heat are 0, and its mask
    is left out when those of its neighbours are smoothed.
    """
    indices = predicted_indices(len(volume.voxels))
    display = display_of(volume)
    parts = [indices[start : start + BATCH_SLICES] for start in range(0, len(indices), BATCH_SLICES)]
    shown = (display.show(windowed(volume, part)) for part in parts)
    box = head_box_of_parts(shown, display.spacing_mm(volume.pixel_spacing_mm))
    shown = (display.show(windowed(volume, part)) for part in parts)
    inputs = (network_inputs(slices, box, model.card.input_px) for slices in shown)
    batches = [_batch(batch, model, member) for batch in inputs]
    tumour, classes, head, features, masks, heat, *kept = (
        np.concatenate(rows) for rows in zip(*batches, strict=True)
    )
    grid = InputGrid(display, box, (volume.voxels.shape[1], volume.voxels.shape[2]))
    filled = sections.shares[indices] >= model.rule.blank_section
    along_mm = slice_positions_mm(volume)[indices]
    masks[filled] = smooth_maps(masks[filled], along_mm[filled], model.rule.mask_smoothing_mm)
    keep = filled.astype(np.float32)
    masks, heat = masks * keep[:, None, None], heat * keep[:, None, None]
    member_features = MemberFeatures(*kept) if kept else None
    return SlicePredictions(
        indices, tumour * keep, classes, head, features, masks, heat, grid, member_features
    )


def windowed(volume: Volume, indices: NDArray[np.intp]) -> NDArray[np.float32]:
    """Slices (n, rows, columns) as in training: CT through the brain window to 0..1, MR in its own units."""
    voxels = volume.voxels[indices]
    return brain_window(voxels) if volume.modality == "CT" else voxels


def predicted_indices(slices: int) -> NDArray[np.intp]:
    """Indices of the slices that the network is run on, of a volume of so many ``slices``."""
    return np.unique(np.linspace(0, slices - 1, min(slices, MAX_SLICES)).round().astype(np.intp))


def slice_features(outputs: SliceOutputs) -> torch.Tensor:
    """(N, C) features of slices: the averages of the network's last and of its deepest map.

    The out-of-distribution score and the fusion are worked out from them. The last map responds to tumours,
    the deepest one to the kind of picture.
    """
    return torch.cat([outputs.pooled, outputs.deepest], dim=1)


@torch.inference_mode()
def _batch(inputs: NDArray[np.float32], model: Model, member: int | None) -> tuple[NDArray[np.generic], ...]:
    outputs = model.engine(torch.from_numpy(inputs))
    heat = grad_cam(outputs.features, model.network.tumour_gradient(outputs.pooled))
    tensors: tuple[torch.Tensor, ...] = (
        torch.sigmoid(outputs.tumour.double() / model.card.temperature),
        torch.softmax(outputs.classes.double(), dim=1),
        torch.sigmoid(outputs.head.double()),
        slice_features(outputs),
        torch.sigmoid(outputs.mask[:, 0]),
        heat,
    )
    if member is not None:
        maps, pooled, deepest = member_maps(model.network, outputs, member)
        tensors = *tensors, torch.cat([pooled, deepest], 1), maps.half()
    return tuple(tensor.numpy() for tensor in tensors)
