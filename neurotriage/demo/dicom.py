"""Slices as DICOM instances: MR Image and CT Image Storage with their modules complete (PS3.3 A.3, A.4)."""

from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from neurotriage import __version__
from neurotriage.demo.scan import Field, Scan

_RESCALE_INTERCEPT_HU: Final = -1024
_BRAIN_WINDOW_HU: Final = (40, 80)  # centre, width: the usual window for the brain
_SLICE_TIME_S: Final = 3


@dataclass(frozen=True, slots=True)
class Sequence:
    """The parameters of an MR sequence; times in ms (PS3.3 C.8.3.1)."""

    description: str
    protocol: str
    scanning_sequence: str
    variant: str
    repetition_ms: float
    echo_ms: float
    echo_train: int
    inversion_ms: float | None
    contrast_agent: str | None


T1_SPIN_ECHO: Final = Sequence(
    "AX T1 SE POST GD", "T1_SE_TRA_KM", "SE", "NONE", 550.0, 12.0, 1, None, "Gadobutrol"
)
FLAIR_TURBO: Final = Sequence("AX T2 FLAIR", "T2_FLAIR_TRA", "IR", "SK", 9000.0, 120.0, 16, 2500.0, None)


def study_header(person: str, description: str, now: datetime) -> Dataset:
    """The attributes that all instances of a new study share: patient, study, frame of reference, equipment.

    ``person`` is Patient's Name; ids and UIDs are new at each call.
    """
    uid = generate_uid(prefix=None)
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientName = person
    header.PatientID = f"DEMO-{uid[-8:]}"
    header.PatientBirthDate = "19600101"
    header.PatientSex = "O"
    header.PatientAge = "060Y"
    header.PatientWeight = "70"
    header.StudyInstanceUID = uid
    header.StudyDate, header.StudyTime = _date_and_time(now)
    header.StudyID = uid[-8:]
    header.AccessionNumber = f"A{uid[-10:]}"
    header.ReferringPhysicianName = None
    header.StudyDescription = description
    header.FrameOfReferenceUID = generate_uid(prefix=None)
    header.PositionReferenceIndicator = None
    header.Manufacturer = "neurotriage demo"
    header.ManufacturerModelName = "sample studies"
    header.InstitutionName = "Demo"
    header.DeviceSerialNumber = "1"
    header.SoftwareVersions = __version__
    header.BodyPartExamined = "HEAD"
    header.PatientPosition = "HFS"
    return header


def mr_series(header: Dataset, scan: Scan, slices: Field, sequence: Sequence, number: int) -> list[Dataset]:
    """An MR series; ``slices`` (slices, rows, columns) in arbitrary units, not negative."""
    stored = np.clip(np.round(slices), 0, 4095).astype(np.uint16)
    series = _series(header, "MR", number, sequence.description, sequence.protocol)
    series.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE" if sequence.scanning_sequence == "SE" else "IR"]
    series.ScanningSequence = sequence.scanning_sequence
    series.SequenceVariant = sequence.variant
    series.ScanOptions = None
    series.MRAcquisitionType = "2D"
    series.RepetitionTime = sequence.repetition_ms
    series.EchoTime = sequence.echo_ms
    series.EchoTrainLength = sequence.echo_train
    if sequence.inversion_ms is not None:
        series.InversionTime = sequence.inversion_ms
    series.MagneticFieldStrength = "1.5"
    series.ImagingFrequency = "63.87"
    series.ImagedNucleus = "1H"
    series.FlipAngle = "90"
    series.NumberOfAverages = "1"
    series.SpacingBetweenSlices = scan.step_mm
    if sequence.contrast_agent is not None:
        series.ContrastBolusAgent = sequence.contrast_agent
    centre = float(np.percentile(stored, 99.5)) / 2
    series.WindowCenter, series.WindowWidth = f"{centre:.0f}", f"{2 * centre:.0f}"
    return _instances(series, scan, stored, MRImageStorage)


def ct_series(header: Dataset, scan: Scan, slices: Field, number: int) -> list[Dataset]:
    """A CT series; ``slices`` (slices, rows, columns) in HU."""
    stored = np.clip(np.round(slices) - _RESCALE_INTERCEPT_HU, 0, 4095).astype(np.uint16)
    series = _series(header, "CT", number, "HEAD AXIAL 5.0 MM", "HEAD ROUTINE")
    series.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    series.KVP = "120"
    series.DataCollectionDiameter = "500"
    series.ReconstructionDiameter = scan.matrix * scan.pixel_mm
    series.GantryDetectorTilt = "0"
    series.ConvolutionKernel = "H31s"
    series.ExposureTime = "1000"
    series.XRayTubeCurrent = "300"
    series.Exposure = "300"
    series.RescaleIntercept = _RESCALE_INTERCEPT_HU
    series.RescaleSlope = "1"
    series.RescaleType = "HU"
    series.WindowCenter, series.WindowWidth = (str(value) for value in _BRAIN_WINDOW_HU)
    return _instances(series, scan, stored, CTImageStorage)


def _series(header: Dataset, modality: str, number: int, description: str, protocol: str) -> Dataset:
    series = deepcopy(header)
    series.Modality = modality
    series.SeriesInstanceUID = generate_uid(prefix=None)
    series.SeriesNumber = number
    series.SeriesDescription = description
    series.ProtocolName = protocol
    series.SeriesDate, series.SeriesTime = series.StudyDate, series.StudyTime
    series.AcquisitionNumber = 1
    return series


def _instances(series: Dataset, scan: Scan, stored: NDArray[np.uint16], sop_class: str) -> list[Dataset]:
    return [_instance(series, scan, image, index, sop_class) for index, image in enumerate(stored)]


def _instance(series: Dataset, scan: Scan, image: NDArray[np.uint16], index: int, sop_class: str) -> Dataset:
    instance = deepcopy(series)
    instance.SOPClassUID = sop_class
    instance.SOPInstanceUID = generate_uid(prefix=None)
    instance.InstanceNumber = index + 1
    begun = datetime.strptime(series.StudyDate + series.StudyTime, "%Y%m%d%H%M%S")  # noqa: DTZ007 (DICOM's local time)
    taken = begun + timedelta(seconds=_SLICE_TIME_S * index)
    instance.AcquisitionDate, instance.AcquisitionTime = _date_and_time(taken)
    instance.ContentDate, instance.ContentTime = instance.AcquisitionDate, instance.AcquisitionTime
    instance.ImageOrientationPatient = _decimals(*scan.row_direction, *scan.column_direction)
    position = scan.position_mm(index)
    instance.ImagePositionPatient = _decimals(*position)
    instance.SliceLocation = _decimals(float(position @ scan.normal))[0]
    instance.SliceThickness = scan.thickness_mm
    instance.PixelSpacing = [scan.pixel_mm, scan.pixel_mm]
    instance.SamplesPerPixel = 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.Rows, instance.Columns = image.shape
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 12, 11
    instance.PixelRepresentation = 0
    instance.PixelData = image.astype("<u2").tobytes()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return instance


def _decimals(*values: float) -> list[str]:
    """DICOM decimal strings: at most 16 characters (PS3.5 6.2)."""
    return [f"{value + 0.0:.7f}" for value in values]


def _date_and_time(moment: datetime) -> tuple[str, str]:
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
