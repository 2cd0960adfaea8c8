"""Sample studies with a lesion whose place is known, as whole DICOM studies with new UIDs each time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from neurotriage.demo import dicom
from neurotriage.demo.contrast import CT, FLAIR, T1_AFTER_CONTRAST, Contrast, signal
from neurotriage.demo.head import load_head
from neurotriage.demo.patient import Patient, SampleLesion, patient
from neurotriage.demo.scan import Scan, receive, reconstruct, sample
from neurotriage.demo.truth import Box, boxes, by_instance, patient_mm

# Left parietal, with a necrotic centre and oedema along the white matter; and right frontal, mostly solid.
MR_LESION: Final = SampleLesion((-30, -28, 32), (19, 16, 15), rim_mm=5.0, oedema_mm=14.0, seed=7)
CT_LESION: Final = SampleLesion((32, 30, 24), (18, 17, 15), rim_mm=9.0, oedema_mm=15.0, seed=11)

MR_SCAN: Final = Scan(28, 256, 0.9375, 5.0, 4.5, centre_mm=(0, 13, 23), tilt_deg=8)
CT_SCAN: Final = Scan(30, 512, 0.46875, 5.0, 5.0, centre_mm=(0, 13, 26))
_CT_SAMPLED_MATRIX: Final = 256  # finer sampling would show no more: the head has 1 mm voxels

_MR_NOISE: Final = 16.0  # white matter is at 640: a signal to noise ratio of 40
_CT_NOISE_HU: Final = 4.0


@dataclass(frozen=True, slots=True)
class SampleStudy:
    """A study and the lesion that was put into it.

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
    return mr_study("head MR with a tumour", "DEMO^HEAD MR", MR_LESION, MR_SCAN, seed=1)


def head_ct() -> SampleStudy:
    """A head CT without contrast medium: a slightly dense mass with oedema."""
    header = dicom.study_header("DEMO^HEAD CT", "CT head without contrast", datetime.now(UTC))
    person = _person(CT_LESION)
    return sample_study("head CT with a mass", header, [scan_ct(header, person, number=2)], CT_LESION, person)


def mr_study(name: str, person_name: str, lesion: SampleLesion | None, scan: Scan, seed: int) -> SampleStudy:
    """T1 after contrast and FLAIR of the demo's head, healthy where there is no lesion."""
    header = dicom.study_header(person_name, "MR head with contrast", datetime.now(UTC))
    person = _person(lesion)
    return sample_study(name, header, [scan_mr(header, person, scan, seed)], lesion, person)


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """Series that show the same slices; boxes are measured on the grid of ``scan``."""

    scan: Scan
    series: tuple[list[Dataset], ...]


def scan_mr(header: Dataset, person: Patient, scan: Scan, seed: int) -> Scanned:
    """Measure T1 after contrast and FLAIR, series 1 and 2."""
    series = []
    sequences: tuple[tuple[dicom.Sequence, Contrast], ...] = (
        (dicom.T1_SPIN_ECHO, T1_AFTER_CONTRAST),
        (dicom.FLAIR_TURBO, FLAIR),
    )
    for number, (sequence, contrast) in enumerate(sequences, 1):
        slices = _mr_slices(person, contrast, scan, 10 * seed + number)
        series.append(dicom.mr_series(header, scan, slices, sequence, number))
    return Scanned(scan, tuple(series))


def scan_ct(header: Dataset, person: Patient, number: int) -> Scanned:
    """Measure a CT, as the series with this number."""
    return Scanned(_coarse(CT_SCAN), (dicom.ct_series(header, CT_SCAN, _ct_slices(person), number),))


# A person, as its pixels, takes seconds to draw; studies of the same one differ in their headers alone.
_drawn = lru_cache(maxsize=4)


@_drawn
def _person(lesion: SampleLesion | None) -> Patient:
    return patient(load_head(), lesion)


@_drawn
def _mr_slices(person: Patient, contrast: Contrast, scan: Scan, seed: int) -> NDArray[np.float32]:
    return receive(sample(person, signal(person, contrast), scan, outside=0), _MR_NOISE, seed=seed)


@_drawn
def _ct_slices(person: Patient) -> NDArray[np.float32]:
    density = sample(person, signal(person, CT), _coarse(CT_SCAN), outside=-1000)
    return reconstruct(density, CT_SCAN.matrix, _CT_NOISE_HU, seed=3)


@_drawn
def _boxes(person: Patient, scan: Scan) -> tuple[Mapping[int, Box], Mapping[int, Box]]:
    return boxes(person, scan)


def _coarse(scan: Scan) -> Scan:
    """The same slices with larger pixels that cover the same area."""
    factor = scan.matrix / _CT_SAMPLED_MATRIX
    return replace(scan, matrix=_CT_SAMPLED_MATRIX, pixel_mm=scan.pixel_mm * factor)


def sample_study(
    name: str, header: Dataset, scanned: Sequence[Scanned], lesion: SampleLesion | None, person: Patient
) -> SampleStudy:
    """Join the series to a study, with the boxes of what was put into the person."""
    tumours: dict[str, Box] = {}
    abnormalities: dict[str, Box] = {}
    for measured in scanned if lesion is not None else ():
        tumour, abnormality = _boxes(person, measured.scan)
        tumours |= by_instance(tumour, measured.series, measured.scan.matrix)
        abnormalities |= by_instance(abnormality, measured.series, measured.scan.matrix)
    datasets = tuple(dataset for measured in scanned for series in measured.series for dataset in series)
    return SampleStudy(
        name=name,
        modality="+".join(sorted({dataset.Modality for dataset in datasets})),
        datasets=datasets,
        lesion_box_by_sop=tumours,
        abnormality_box_by_sop=abnormalities,
        lesion_centre_mm=patient_mm(lesion.centre_mm) if lesion else None,
        study_instance_uid=header.StudyInstanceUID,
    )
