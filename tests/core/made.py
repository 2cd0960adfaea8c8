"""Small instances with nothing in them but what a test asks for."""

from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

STUDY, SERIES = "2.25.1", "2.25.2"


def instance(number: int = 1, **attributes: object) -> Dataset:
    """A header with two by two pixels; ``attributes`` replace or add, None removes."""
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = f"2.25.3.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.Modality = "MR"
    dataset.PatientID = "P1"
    dataset.PatientName = "One^Patient"
    dataset.InstanceNumber = number
    dataset.Rows = dataset.Columns = 2
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.SamplesPerPixel = 1
    dataset.PixelData = bytes(8)
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def part10(dataset: Dataset, *, ae_title: str = "") -> bytes:
    """A Part 10 file, Explicit VR Little Endian; ``ae_title`` goes into its File Meta."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", MRImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "2.25.9")
    if ae_title:
        dataset.file_meta.SourceApplicationEntityTitle = ae_title
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def bare(dataset: Dataset) -> bytes:
    """The data set alone: no preamble, no File Meta."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=True, little_endian=True)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
