"""Small CT and MR objects made for tests, with the geometry and the faults that a test asks for."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from neurotriage.core.values import SeriesManifest, StudyManifest
from neurotriage.dicom.manifest import scan_folder

STUDY = "2.25.100"
SERIES = "2.25.200"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def picture(rows: int = 16, columns: int = 12, seed: int = 0) -> NDArray[np.int16]:
    """Values 0 to 4000 that differ everywhere."""
    values = np.random.default_rng(seed).integers(0, 4001, (rows, columns))
    return values.astype(np.int16)


def slice_of(pixels: NDArray[Any], number: int = 1, **attributes: Any) -> Dataset:
    """One axial MR slice at z = 5 mm x number; ``attributes`` replace or add, None removes."""
    dataset = _common(pixels, number)
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = f"2.25.300.{attributes.get('SeriesInstanceUID', SERIES)[5:]}.{number}"
    dataset.Modality = "MR"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.ImagePositionPatient = [-100.0, -110.0, 5.0 * number]
    dataset.ImageOrientationPatient = list(AXIAL)
    dataset.PixelSpacing = [1.0, 1.0]
    dataset.SliceThickness = 5.0
    return _changed(dataset, attributes)


def ct_slice_of(pixels: NDArray[Any], number: int = 1, **attributes: Any) -> Dataset:
    """One axial CT slice with slope 1 and intercept -1024."""
    ct = {
        "SOPClassUID": CTImageStorage,
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    return slice_of(pixels, number, **(ct | attributes))


def enhanced_of(pictures: list[NDArray[Any]], positions: list[list[float]], **attributes: Any) -> Dataset:
    """One Enhanced MR object, a frame for each picture."""
    dataset = _common(pictures[0], 1)
    dataset.PixelData = np.stack(pictures).tobytes()
    dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.SOPInstanceUID = "2.25.400"
    dataset.Modality = "MR"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    dataset.NumberOfFrames = len(pictures)
    dataset.SharedFunctionalGroupsSequence = Sequence(
        [
            _item(
                PixelMeasuresSequence=_item(PixelSpacing=[1.0, 1.0], SliceThickness=5.0),
                PlaneOrientationSequence=_item(ImageOrientationPatient=list(AXIAL)),
            )
        ]
    )
    dataset.PerFrameFunctionalGroupsSequence = Sequence(
        [_item(PlanePositionSequence=_item(ImagePositionPatient=place)) for place in positions]
    )
    return _changed(dataset, attributes)


def write(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """A Part 10 file in an uncompressed transfer syntax."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)
    return path


def series_in(folder: Path, datasets: list[Dataset]) -> SeriesManifest:
    """The manifest of the one series that the data sets form, written below ``folder``."""
    return study_in(folder, datasets).series[0]


def study_in(folder: Path, datasets: list[Dataset]) -> StudyManifest:
    """The manifest of the one study that the data sets form."""
    for number, dataset in enumerate(datasets):
        write(dataset, folder / f"{number:03d}.dcm")
    (study,) = scan_folder(folder).studies
    return study


def _common(pixels: NDArray[Any], number: int) -> Dataset:
    dataset = Dataset()
    dataset.PatientID = "MADE"
    dataset.StudyInstanceUID = STUDY
    dataset.SeriesInstanceUID = SERIES
    dataset.InstanceNumber = number
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _changed(dataset: Dataset, attributes: dict[str, Any]) -> Dataset:
    for name, value in attributes.items():
        if value is None:
            if name in dataset:
                delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, Sequence([value]) if isinstance(value, Dataset) else value)
    return item
