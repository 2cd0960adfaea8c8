"""Sample studies with a lesion whose place is known, as whole DICOM studies with new UIDs each time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from neurotriage.demo import dicom
from neurotriage.demo.contrast import CT, FLAIR, T1_AFTER_CONTRAST, Contrast, signal
from neurotriage.demo.head import load_head
from neurotriage.demo.patient import Lesion, Patient, patient
from neurotriage.demo.scan import Scan, receive, reconstruct, sample

Box = tuple[int, int, int, int]

# Left parietal, with a necrotic centre and oedema along the white matter; and right frontal, mostly solid.
_MR_LESION: Final = Lesion((-30, -28, 32), (19, 16, 15), rim_mm=5.0, oedema_mm=14.0, seed=7)
_CT_LESION: Final = Lesion((32, 30, 24), (18, 17, 15), rim_mm=9.0, oedema_mm=15.0, seed=11)

_MR_SCAN: Final = Scan(28, 256, 0.9375, 5.0, 4.5, centre_mm=(0, 13, 23), tilt_deg=8)
_HEALTHY_SCAN: Final = Scan(28, 256, 0.9375, 5.0, 4.5, centre_mm=(2, 12, 23), tilt_deg=5)
_CT_SCAN: Final = Scan(30, 512, 0.46875, 5.0, 5.0, centre_mm=(0, 13, 26))
_CT_SAMPLED_MATRIX: Final = 256  # finer sampling would show no more: the head has 1 mm voxels

_MR_NOISE: Final = 16.0  # white matter is at 640: a signal to noise ratio of 40
_CT_NOISE_HU: Final = 4.0
_MIN_SHARE: Final = 0.5  # a pixel belongs to the tumour when at least this much of it does
_MIN_OEDEMA: Final = 0.35  # where oedema is plain to see on FLAIR
_MIN_PIXELS: Final = 12  # fewer in a slice are no lesion that anybody would mark


@dataclass(frozen=True, slots=True)
class SampleStudy:
    """A study and what was put into it.

    Boxes are (x0, y0, x1, y1) in pixels of the stored image, end exclusive, for the instances that show
    the lesion: ``lesion_box_by_sop`` the tumour, ``abnormality_box_by_sop`` the tumour with its oedema. Both
    are empty and the centre is None in a healthy head. ``lesion_centre_mm`` is in patient mm (LPS).
    """

    name: str
    modality: str  # of a pair "CT+MR"
    datasets: tuple[Dataset, ...]
    lesion_box_by_sop: Mapping[str, Box]
    abnormality_box_by_sop: Mapping[str, Box]
    lesion_centre_mm: tuple[float, float, float] | None
    study_instance_uid: str

    def write(self, folder: Path) -> list[Path]:
        """Write one file per instance into ``folder``, which is made; returns the paths in sending order."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, dataset in enumerate(self.datasets, 1):
            paths.append(folder / f"{dataset.Modality}{number:03d}.dcm")
            dataset.save_as(paths[-1], enforce_file_format=True)
        return paths


def head_mr() -> SampleStudy:
    """A head MR with a ring-enhancing tumour: T1 after contrast, and FLAIR."""
    return _mr_study("head MR with a tumour", "DEMO^HEAD MR", _MR_LESION, _MR_SCAN, seed=1)


def healthy_head_mr() -> SampleStudy:
    """A head MR without any finding: T1 after contrast, and FLAIR."""
    return _mr_study("healthy head MR", "DEMO^HEALTHY MR", None, _HEALTHY_SCAN, seed=2)


def head_ct() -> SampleStudy:
    """A head CT without contrast medium: a slightly dense mass with oedema."""
    header = dicom.study_header("DEMO^HEAD CT", "CT head without contrast", datetime.now(UTC))
    grown = patient(load_head(), _CT_LESION)
    return _study("head CT with a mass", header, [_ct(header, grown, number=2)], _CT_LESION, grown)


def head_pair() -> SampleStudy:
    """A CT and an MR of one head in one study and one frame of reference, with the same mass in both."""
    header = dicom.study_header("DEMO^PAIR", "CT and MR of the head", datetime.now(UTC))
    grown = patient(load_head(), _CT_LESION)
    scanned = [_mr(header, grown, _MR_SCAN, seed=1), _ct(header, grown, number=3)]
    return _study("head CT and MR with a mass", header, scanned, _CT_LESION, grown)


def _mr_study(name: str, person: str, lesion: Lesion | None, scan: Scan, seed: int) -> SampleStudy:
    header = dicom.study_header(person, "MR head with contrast", datetime.now(UTC))
    grown = patient(load_head(), lesion)
    return _study(name, header, [_mr(header, grown, scan, seed)], lesion, grown)


@dataclass(frozen=True, slots=True, eq=False)
class _Scanned:
    """Series with the same slices; ``scan`` is what boxes are measured on."""

    scan: Scan
    series: tuple[list[Dataset], ...]


def _mr(header: Dataset, grown: Patient, scan: Scan, seed: int) -> _Scanned:
    """T1 after contrast and FLAIR, series 1 and 2."""
    series = []
    sequences: tuple[tuple[dicom.Sequence, Contrast], ...] = (
        (dicom.T1_SPIN_ECHO, T1_AFTER_CONTRAST),
        (dicom.FLAIR_TURBO, FLAIR),
    )
    for number, (sequence, contrast) in enumerate(sequences, 1):
        slices = sample(grown, signal(grown, contrast), scan, outside=0)
        slices = receive(slices, _MR_NOISE, seed=10 * seed + number)
        series.append(dicom.mr_series(header, scan, slices, sequence, number))
    return _Scanned(scan, tuple(series))


def _ct(header: Dataset, grown: Patient, number: int) -> _Scanned:
    coarse = _coarse(_CT_SCAN)
    density = sample(grown, signal(grown, CT), coarse, outside=-1000)
    slices = reconstruct(density, _CT_SCAN.matrix, _CT_NOISE_HU, seed=3)
    return _Scanned(coarse, (dicom.ct_series(header, _CT_SCAN, slices, number),))


def _coarse(scan: Scan) -> Scan:
    """The same slices with larger pixels that cover the same area."""
    factor = scan.matrix / _CT_SAMPLED_MATRIX
    return replace(scan, matrix=_CT_SAMPLED_MATRIX, pixel_mm=scan.pixel_mm * factor)


def _study(
    name: str, header: Dataset, scanned: Sequence[_Scanned], lesion: Lesion | None, grown: Patient
) -> SampleStudy:
    """Join the series with the boxes of what is known to be in them."""
    tumours: dict[str, Box] = {}
    abnormalities: dict[str, Box] = {}
    for one in scanned:
        tumour, abnormality = _boxes(lesion, grown, one.scan)
        tumours |= _by_sop(tumour, one.series, one.scan.matrix)
        abnormalities |= _by_sop(abnormality, one.series, one.scan.matrix)
    datasets = tuple(dataset for one in scanned for series in one.series for dataset in series)
    return SampleStudy(
        name=name,
        modality="+".join(sorted({dataset.Modality for dataset in datasets})),
        datasets=datasets,
        lesion_box_by_sop=tumours,
        abnormality_box_by_sop=abnormalities,
        lesion_centre_mm=_in_patient_mm(lesion.centre_mm) if lesion else None,
        study_instance_uid=header.StudyInstanceUID,
    )


def _in_patient_mm(template_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """From the template's space (RAS) to DICOM's (LPS)."""
    x, y, z = template_mm
    return -x, -y, z


def _boxes(lesion: Lesion | None, grown: Patient, scan: Scan) -> tuple[dict[int, Box], dict[int, Box]]:
    """Boxes of the tumour, and of the tumour with its oedema, by slice."""
    if lesion is None:
        return {}, {}
    tumour = sample(grown, grown.tumour, scan, outside=0) > _MIN_SHARE
    oedema = sample(grown, grown.oedema, scan, outside=0) > _MIN_OEDEMA
    return _boxes_of(tumour), _boxes_of(tumour | oedema)


def _boxes_of(masks: NDArray[np.bool_]) -> dict[int, Box]:
    boxes = {}
    for index, mask in enumerate(masks):
        if mask.sum() >= _MIN_PIXELS:
            rows, columns = np.nonzero(mask)
            boxes[index] = (
                int(columns.min()),
                int(rows.min()),
                int(columns.max()) + 1,
                int(rows.max()) + 1,
            )
    return boxes


def _by_sop(boxes: dict[int, Box], series: Sequence[list[Dataset]], matrix: int) -> dict[str, Box]:
    """The boxes by instance, in pixels of the stored images (``matrix`` is that of the boxes)."""
    found = {}
    for datasets in series:
        scale = datasets[0].Columns // matrix
        for index, (x0, y0, x1, y1) in boxes.items():
            uid = str(datasets[index].SOPInstanceUID)
            found[uid] = (x0 * scale, y0 * scale, x1 * scale, y1 * scale)
    return found
