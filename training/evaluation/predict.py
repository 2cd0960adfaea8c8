"""The network's answers for the rows of a manifest, through the same preprocessing as at run time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit, softmax

from training.data.manifest import Row, grey_images, mask_of
from worker.vision.network import Network, grad_cam
from worker.vision.slices.preprocess import INPUT_PX, Box, head_box, network_input, to_source

BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class CasePrediction:
    """One grey image's logits and maps; the maps lie over the network's input."""

    row: Row
    sequence: str
    shape: tuple[int, int]  # rows, columns of the image
    box: Box
    tumour: float
    classes: NDArray[np.float32]  # (3,)
    head: float
    mask: NDArray[np.float32]  # (h, w), logits
    cam: NDArray[np.float32]  # (fh, fw)


def predictions(network: Network, rows: Sequence[Row], input_px: int = INPUT_PX) -> Iterator[CasePrediction]:
    """Predictions in the rows' order, every grey image of each row, as network inputs of ``input_px``.

    Raises OSError where a picture cannot be read.
    """
    waiting: list[tuple[Row, str, tuple[int, int], Box, NDArray[np.float32]]] = []
    for row in rows:
        for sequence, grey in grey_images(row):
            box = head_box(grey)
            waiting.append((row, sequence, grey.shape, box, network_input(grey, box, input_px)))
        if len(waiting) >= BATCH:
            yield from _answers(network, waiting)
            waiting = []
    if waiting:
        yield from _answers(network, waiting)


def labelled_slices(
    rows: Sequence[Row], input_px: int, most: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Network inputs (n, 1, S, S) of rows that say whether there is a tumour, and what they say (n,).

    Of more than ``most`` rows those that are evenly spread over the manifest.
    """
    known = [row for row in rows if row.tumour is not None]
    chosen = np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).astype(int))
    pairs = [
        (network_input(grey, head_box(grey), input_px), known[place].tumour)
        for place in chosen
        for _, grey in grey_images(known[place])
    ]
    return np.stack([grey for grey, _ in pairs]), np.array([truth for _, truth in pairs], bool)


def combined(answers: Sequence[CasePrediction]) -> CasePrediction:
    """One answer for the grey images of one slice: the mean of their class logits and of their maps.

    A tumour may show in one of them only. So the tumour logit is the logarithm of the mean of the odds, and
    each image's maps count by its probability of a tumour, before calibration. The images are those of one
    slice on one grid, so the box of the first stands for all.
    """
    first = answers[0]
    shares = softmax(log_expit([answer.tumour for answer in answers]))  # of the probabilities
    return CasePrediction(
        row=first.row,
        sequence="combined",
        shape=first.shape,
        box=first.box,
        tumour=float(np.logaddexp.reduce([a.tumour for a in answers]) - np.log(len(answers))),
        classes=np.mean([a.classes for a in answers], axis=0),
        head=float(np.mean([a.head for a in answers])),
        mask=_weighted([a.mask for a in answers], shares),
        cam=_weighted([a.cam for a in answers], shares),
    )


def _weighted(maps: Sequence[NDArray[np.float32]], shares: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.tensordot(shares.astype(np.float32), np.stack(maps), 1)


def lesion(answer: CasePrediction) -> NDArray[np.bool_] | None:
    """The true lesion (rows, columns) on the grid of the answer's image; None where it is not known."""
    return mask_of(answer.row)


def decoded(answer: CasePrediction) -> NDArray[np.float32]:
    """The decoder's probability of lesion (rows, columns) on the grid of the answer's image."""
    result: NDArray[np.float32] = to_source(expit(answer.mask[None]), answer.box, answer.shape)[0]
    return result


def explained(answer: CasePrediction) -> NDArray[np.float32]:
    """Grad-CAM (rows, columns) on the grid of the answer's image."""
    result: NDArray[np.float32] = to_source(answer.cam[None], answer.box, answer.shape)[0]
    return result


@torch.inference_mode()
def _answers(
    network: Network, items: list[tuple[Row, str, tuple[int, int], Box, NDArray[np.float32]]]
) -> Iterator[CasePrediction]:
    batch = torch.from_numpy(np.stack([item[4] for item in items]))
    outputs = network(batch.contiguous(memory_format=torch.channels_last))
    cams = grad_cam(outputs.features, network.tumour_gradient(outputs.pooled)).numpy()
    for index, (row, sequence, shape, box, _) in enumerate(items):
        yield CasePrediction(
            row=row,
            sequence=sequence,
            shape=shape,
            box=box,
            tumour=float(outputs.tumour[index]),
            classes=outputs.classes[index].numpy(),
            head=float(outputs.head[index]),
            mask=outputs.mask[index, 0].numpy(),
            cam=cams[index],
        )
