"""Training slices decoded once into memory, and the order in which they are drawn."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from training.data.manifest import Row, grey_images, mask_of
from worker.vision.network import CLASSES
from worker.vision.slices.preprocess import Box, head_box, mask_input, network_input

STORED_PX = 176  # for networks of 128 px, and for all CT
CONTEXT = 1.25  # side of what is stored, in sides of the head's box: room for shifts and turns
INK = 0.08  # grey level (0..1) above which a stored pixel belongs to the head
UNLABELLED = -1
SMALLEST_VOLUME_SCALE = 0.45

# Share of the draws of each (source, tumour or class) cell. Tumours and tumour-free slices are balanced,
# and the tumour-free slices of patients get as much as the data holds: they break "source = class".
CELL_SHARES = {
    ("figshare", "meningioma"): 9.0,
    ("figshare", "pituitary"): 7.0,
    ("figshare", "glioma"): 11.0,
    ("lgg", "1"): 14.0,
    ("lgg", "0"): 15.0,
    ("btp", "1"): 4.0,
    ("btp", "0"): 5.0,
    ("br35h", "1"): 7.0,
    ("br35h", "0"): 8.0,
    ("nickparvar", "0"): 8.0,
    ("nichart", "0"): 12.0,
    ("aanlib-pair", "0"): 4.0,
}
OTHER_CELL_SHARE = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """N stored slices. ``images``, ``masks``, ``depths`` are uint8 (N, S, S)."""

    images: Tensor
    masks: Tensor  # share of the pixel covered by the lesion, 0..255
    depths: Tensor  # distance to the outside of the head, sides of the picture / STORED_PX
    tumour: Tensor  # (N,) 1, 0 or UNLABELLED
    classes: Tensor  # (N,) index into CLASSES or UNLABELLED
    masked: Tensor  # (N,) bool: the lesion mask is known (tumour-free: empty)
    volume_scale: Tensor  # (N,) side of the slice's head box / side of its volume's
    cells: tuple[tuple[str, str], ...]
    series: tuple[str, ...]


def stored_px(input_px: int) -> int:
    """Side in pixels of stored pictures from which inputs of ``input_px`` lose no detail."""
    return max(STORED_PX, round(input_px * CONTEXT * 1.1))


def seen_box(side_px: int) -> Box:
    """The head's box in a stored picture: the part that a network is shown without augmentation."""
    margin_px = round(side_px * (1 - 1 / CONTEXT) / 2)
    return Box(margin_px, margin_px, side_px - margin_px, side_px - margin_px)


def stock(rows: Sequence[Row], side_px: int = STORED_PX) -> Stock:
    """Decode, crop to the head and store each grey image of the rows, ``side_px`` wide and high.

    Raises ValueError where there are no rows.
    """
    images, masks, depths, facts, cells, series, boxes = [], [], [], [], [], [], []
    for row in rows:
        mask = mask_of(row)
        for name, grey in grey_images(row):
            box = head_box(grey)
            picture = stored_picture(grey, box, side_px)
            images.append(picture)
            depths.append(depth_of(picture))
            masks.append(stored_mask(mask, box, side_px))
            facts.append((_flag(row.tumour), _class(row), mask is not None or row.tumour is False))
            cells.append(cell_of(row))
            series.append(row.series)
            boxes.append((f"{row.series} {row.plane} {name}", box))
    tumour, classes, masked = zip(*facts, strict=True)
    return Stock(
        images=torch.from_numpy(np.stack(images)),
        masks=torch.from_numpy(np.stack(masks)),
        depths=torch.from_numpy(np.stack(depths)),
        tumour=torch.tensor(tumour),
        classes=torch.tensor(classes),
        masked=torch.tensor(masked),
        volume_scale=torch.from_numpy(volume_scales(boxes)),
        cells=tuple(cells),
        series=tuple(series),
    )


def depth_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Distance of each pixel to the outside of the filled head, in sides / STORED_PX (0 outside)."""
    ink = ndimage.binary_closing(picture > INK * 255, iterations=3)
    depth: NDArray[np.float64] = ndimage.distance_transform_edt(ndimage.binary_fill_holes(ink))
    result: NDArray[np.uint8] = np.minimum(depth * STORED_PX / len(picture), 255).astype(np.uint8)
    return result


class Draw:
    """Draws stored slices so that each cell has its share and long series do not dominate theirs."""

    def __init__(
        self, stored: Stock, seed: int, cell_shares: Mapping[tuple[str, str], float] = CELL_SHARES
    ) -> None:
        self.random = np.random.default_rng(seed)
        members: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, cell in enumerate(stored.cells):
            members[cell].append(index)
        self.members = [np.array(indices) for indices in members.values()]
        shares = np.array([cell_shares.get(cell, OTHER_CELL_SHARE) for cell in members])
        self.shares = shares / shares.sum()
        self.weights = [_series_weights([stored.series[i] for i in indices]) for indices in self.members]

    def batch(self, size: int) -> Tensor:
        """(size,) indices into the stock."""
        cells = self.random.choice(len(self.members), size, p=self.shares)
        drawn = [self.random.choice(self.members[c], p=self.weights[c]) for c in cells]
        return torch.tensor(drawn)


def _series_weights(names: list[str]) -> NDArray[np.float64]:
    """A series of n slices gets the weight of sqrt(n) slices."""
    _, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
    weights = 1.0 / np.sqrt(counts[inverse])
    result: NDArray[np.float64] = weights / weights.sum()
    return result


def _wider(box: Box) -> Box:
    x, y = round(box.width_px * (CONTEXT - 1) / 2), round(box.height_px * (CONTEXT - 1) / 2)
    return Box(box.x0 - x, box.y0 - y, box.x1 + x, box.y1 + y)


def stored_picture(grey: NDArray[np.uint8], box: Box, side_px: int = STORED_PX) -> NDArray[np.uint8]:
    """A grey image (rows, columns) as it is stored: uint8 (S, S), its head's box with some room around it."""
    return _byte(network_input(grey, _wider(box), side_px)[0])


def stored_mask(mask: NDArray[np.bool_] | None, box: Box, side_px: int = STORED_PX) -> NDArray[np.uint8]:
    """A lesion mask (rows, columns) as it is stored beside its picture: uint8 (S, S), empty without one."""
    if mask is None:
        return np.zeros((side_px, side_px), np.uint8)
    return _byte(mask_input(mask, _wider(box), side_px))


def _byte(unit: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0..1 to 0..255."""
    return np.asarray(np.round(unit * 255), np.uint8)


def volume_scales(boxes: list[tuple[str, Box]]) -> NDArray[np.float32]:
    """(n,) how small each head looks in a box around its whole series, as volumes are cropped at run time.

    ``boxes`` are pairs of the name of a series and the box of a slice's head; results are at most 1.
    """
    widest: dict[str, int] = defaultdict(int)
    for name, box in boxes:
        widest[name] = max(widest[name], box.width_px)
    scales = [max(box.width_px / widest[name], SMALLEST_VOLUME_SCALE) for name, box in boxes]
    return np.array(scales, np.float32)


def _flag(tumour: bool | None) -> int:
    return UNLABELLED if tumour is None else int(tumour)


def _class(row: Row) -> int:
    return CLASSES.index(row.label) if row.label in CLASSES else UNLABELLED


def cell_of(row: Row) -> tuple[str, str]:
    """The cell with which a row is drawn: its source, and the type of its tumour or whether it has one."""
    if row.source != "figshare":
        return row.source, str(_flag(row.tumour))
    kinds = {"men": "meningioma", "pit": "pituitary", "gli": "glioma"}
    return row.source, kinds.get(row.path.name[:3], "glioma")
