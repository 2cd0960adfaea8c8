"""Key slices as pictures without identity: voxels of the head in grey, and black around it."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neurotriage.core.values import Analysis
from worker.imaging.head import head_mask
from worker.results.sources.scene import Scene, marked_slices
from worker.results.sources.slices import SourceSlice
from worker.second_opinion.withheld import Withheld

_LONGEST_PX: Final = 384
_LEAST_SHARE: Final = 0.02  # of the picture that the head takes


class FindsText(Protocol):
    """Whoever looks for text in a grey picture (rows, columns)."""

    def finds(self, picture: NDArray[np.uint8]) -> bool: ...


@dataclass(frozen=True, slots=True)
class SlicePicture:
    """``left_is_left``: the left half of the picture is the patient's left; None where neither is."""

    png: bytes
    modality: str
    left_is_left: bool | None


def slice_pictures(
    analysis: Analysis, scene: Scene, finder: FindsText, *, most: int
) -> tuple[SlicePicture, ...]:
    """The key slices of each modality and the most suspicious ones, at most ``most``.

    Raises ``Withheld`` where a source says that annotation is burnt in (0028,0301), where text is found, or
    where no slice can be read.
    """
    chosen = list(dict.fromkeys((*scene.keys, *_by_suspicion(analysis, scene))))[:most]
    if not chosen:
        raise Withheld("no slice can be shown")
    for image in chosen:
        if str(image.header.get("BurnedInAnnotation", "")).strip().upper() not in ("", "NO"):
            raise Withheld("an image says that annotation is burnt in (0028,0301)")
    return tuple(_pictures(scene, chosen, finder))


def _by_suspicion(analysis: Analysis, scene: Scene) -> Sequence[SourceSlice]:
    probability = {(f.sop_instance_uid, f.frame): f.probability for f in analysis.findings}
    return sorted(marked_slices(analysis, scene), key=lambda image: -probability.get(image.key, 0.0))


def _pictures(scene: Scene, chosen: Sequence[SourceSlice], finder: FindsText) -> Iterator[SlicePicture]:
    for image in chosen:
        pixels = scene.pixels(image)
        if pixels is None:
            raise Withheld("a slice cannot be decoded")
        whole = _grey(pixels, scene.window(image))
        if finder.finds(whole):  # also where it would be cut away: this source writes into its images
            raise Withheld("text was found in a slice")
        head = head_mask(pixels, image.modality)
        if head.mean() < _LEAST_SHARE:
            raise Withheld("no head was found on a slice")
        yield SlicePicture(_png(np.where(head, whole, np.uint8(0)), head), image.modality, _left(image))


def _grey(pixels: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    shares = np.clip((np.nan_to_num(pixels) - low) / (high - low), 0.0, 1.0)
    return np.asarray(np.round(255 * shares), dtype=np.uint8)


def _png(grey: NDArray[np.uint8], head: NDArray[np.bool_]) -> bytes:
    """The box around the head, at most ``_LONGEST_PX`` long. Drawn anew, so nothing of a file is in it."""
    rows, columns = np.flatnonzero(head.any(axis=1)), np.flatnonzero(head.any(axis=0))
    box = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    picture = Image.fromarray(box)
    picture.thumbnail((_LONGEST_PX, _LONGEST_PX))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _left(image: SourceSlice) -> bool | None:
    """Whether columns run from the patient's left to right (x falls), by the main axis of a row."""
    along = image.row_direction
    return bool(along[0] < 0) if int(np.abs(along).argmax()) == 0 else None
