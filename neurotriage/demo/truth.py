"""Where the lesion of a sample study is: its boxes in pixels, its centre in patient coordinates."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from neurotriage.demo.patient import Patient
from neurotriage.demo.scan import Scan, sample

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels; end exclusive

_MIN_SHARE: Final = 0.5  # a pixel belongs to the tumour when at least this much of it does
_MIN_OEDEMA: Final = 0.35  # where oedema is plain to see on FLAIR
_MIN_PIXELS: Final = 12  # fewer in a slice are no lesion that anybody would mark


def patient_mm(template_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """A point of the template's space (RAS) in DICOM's patient coordinates (LPS, PS3.3 C.7.6.2.1.1)."""
    x, y, z = template_mm
    return -x, -y, z


def boxes(person: Patient, scan: Scan) -> tuple[dict[int, Box], dict[int, Box]]:
    """Boxes of the tumour, and of the tumour with its oedema, by slice index, in pixels of ``scan``."""
    tumour = sample(person, person.tumour, scan, outside=0) > _MIN_SHARE
    oedema = sample(person, person.oedema, scan, outside=0) > _MIN_OEDEMA
    return _by_slice(tumour), _by_slice(tumour | oedema)


def _by_slice(masks: NDArray[np.bool_]) -> dict[int, Box]:
    boxes_by_slice = {}
    for index, mask in enumerate(masks):
        if mask.sum() >= _MIN_PIXELS:
            rows, columns = np.nonzero(mask)
            boxes_by_slice[index] = (
                int(columns.min()),
                int(rows.min()),
                int(columns.max()) + 1,
                int(rows.max()) + 1,
            )
    return boxes_by_slice


def by_instance(
    boxes_by_slice: Mapping[int, Box], series: Sequence[Sequence[Dataset]], matrix: int
) -> dict[str, Box]:
    """The boxes by SOP Instance UID, in pixels of the stored images; ``matrix`` is that of the boxes."""
    by_sop = {}
    for datasets in series:
        scale = datasets[0].Columns // matrix
        for index, (x0, y0, x1, y1) in boxes_by_slice.items():
            uid = str(datasets[index].SOPInstanceUID)
            by_sop[uid] = (x0 * scale, y0 * scale, x1 * scale, y1 * scale)
    return by_sop
