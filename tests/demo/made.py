"""Sample studies: those that the demo shows, a healthy head and a pair of CT and MR."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from neurotriage.demo import dicom
from neurotriage.demo.head import load_head
from neurotriage.demo.patient import patient
from neurotriage.demo.scan import Scan
from neurotriage.demo.studies import (
    CT_LESION,
    MR_SCAN,
    SampleStudy,
    head_ct,
    head_mr,
    mr_study,
    sample_study,
    scan_ct,
    scan_mr,
)

HEALTHY_SCAN: Final = Scan(28, 256, 0.9375, 5.0, 4.5, centre_mm=(2, 12, 23), tilt_deg=5)


def healthy_head_mr() -> SampleStudy:
    """A head MR without any finding: T1 after contrast, and FLAIR."""
    return mr_study("healthy head MR", "DEMO^HEALTHY MR", None, HEALTHY_SCAN, seed=2)


def head_pair() -> SampleStudy:
    """A CT and an MR of one head in one study and one frame of reference, with the same mass in both."""
    header = dicom.study_header("DEMO^PAIR", "CT and MR of the head", datetime.now(UTC))
    person = patient(load_head(), CT_LESION)
    scanned = [scan_mr(header, person, MR_SCAN, seed=1), scan_ct(header, person, number=3)]
    return sample_study("head CT and MR with a mass", header, scanned, CT_LESION, person)


MAKERS: Final[dict[str, Callable[[], SampleStudy]]] = {
    "mr": head_mr,
    "healthy": healthy_head_mr,
    "ct": head_ct,
    "pair": head_pair,
}


@cache
def made(name: str) -> SampleStudy:
    """Each study once for all tests: making one takes seconds."""
    return MAKERS[name]()


def series_of(study: SampleStudy) -> list[list[Dataset]]:
    """The instances of each series, in sending order."""
    uids = dict.fromkeys(dataset.SeriesInstanceUID for dataset in study.datasets)
    return [[d for d in study.datasets if d.SeriesInstanceUID == uid] for uid in uids]


def true_values(dataset: Dataset) -> NDArray[np.float64]:
    """Pixels in Hounsfield units, or as stored where there is no rescale (PS3.3 C.11.1)."""
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    values: NDArray[np.float64] = dataset.pixel_array * slope + intercept
    return values
