"""A source study on disk: a geometric head with a lesion at a known place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from neurotriage.core.values import ManifestInstance, SeriesManifest, StudyManifest
from neurotriage.dicom.uids import derived_uid

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)
TILTED = (1, 0, 0, 0, 0.9205, -0.3907)  # 23 degrees of gantry tilt
FLIPPED = (-1, 0, 0, 0, -1, 0)
OBLIQUE = (0.9397, 0.342, 0, -0.3214, 0.883, -0.342)

HEAD_RADII_MM = (72.0, 92.0, 85.0)  # x, y, z
LESION_CENTRE_MM = np.array([30.0, -25.0, 15.0])  # LPS: left, frontal, high
LESION_RADIUS_MM = 16.0


@dataclass(frozen=True)
class Made:
    """A study on disk and the truth about it."""

    manifest: StudyManifest
    masks: tuple[NDArray[np.bool_], ...]  # per slice in sorted order
    keys: tuple[tuple[str, int | None], ...]  # SOP Instance UID and frame, in sorted order
    series_instance_uid: str
    spacing_mm: tuple[float, float]
    modality: str


STUDIES: dict[str, dict[str, Any]] = {
    "mr_axial": {},
    "mr_sagittal": {"orientation": SAGITTAL, "shape": (217, 181)},
    "mr_enhanced": {"enhanced": True, "orientation": CORONAL},
    "ct_tilted": {"modality": "CT", "orientation": TILTED, "shape": (256, 256)},
    "kanji": {
        "header": {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "StudyDescription": "頭部MRI"},
    },
    "umlauts": {"header": {"PatientName": "Müller^Jörg", "StudyDescription": "Schädel nativ – Ödem?"}},
    "long_name": {"header": {"PatientName": "X" * 60, "PatientID": "1" * 64}},
    "talkative": {
        "header": {
            "OtherPatientIDs": ["A-1", "B-2"], "OtherPatientNames": ["Roe^Jane", "Müller^Jana"],
            "PatientBirthTime": "0102", "EthnicGroup": "unknown", "PatientComments": "one line\r\nand two",
            "QualityControlSubject": "NO", "PatientIdentityRemoved": "NO", "PatientAge": "065Y",
            "PatientSize": "1.7", "PatientWeight": "70", "PatientBodyMassIndex": "24.2",
            "MedicalAlerts": ["pacemaker", "cochlear implant"], "Allergies": "iodine", "Occupation": "driver",
            "SmokingStatus": "UNKNOWN", "PregnancyStatus": 4, "LastMenstrualDate": "20100101",
            "PatientState": "awake", "AdditionalPatientHistory": "ache\r\nsince May", "AdmissionID": "ADM-1",
            "AdmittingDiagnosesDescription": ["headache", "vertigo"], "ReasonForVisit": "staging\r\nand pain",
            "ServiceEpisodeID": "EP-1", "ServiceEpisodeDescription": "neurology",
            "PhysiciansOfRecord": ["One^Doc", "Two^Doc"], "NameOfPhysiciansReadingStudy": "Three^Doc",
            "ConsultingPhysicianName": "Four^Doc", "ClinicalTrialSponsorName": "Sponsor",
            "ClinicalTrialProtocolID": "P-1", "ClinicalTrialProtocolName": "", "ClinicalTrialSiteID": "",
            "ClinicalTrialSiteName": "", "ClinicalTrialSubjectID": "S-1", "ClinicalTrialTimePointID": "T-1",
        }
    },
    "malformed": {
        "header": {
            "PatientSex": "X",
            "PatientBirthDate": "1960-12",
            "StudyTime": "25:00",
            "AccessionNumber": "A" * 40,
            "StudyDescription": "D" * 90,
        }
    },
    "sparse": {
        "without": (
            "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
            "AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "SeriesDescription",
            "SliceThickness", "FrameOfReferenceUID", "InstanceNumber", "TimezoneOffsetFromUTC",
            "SpecificCharacterSet",
        )
    },
}  # fmt: skip


def make_study(
    folder: Path,
    modality: str = "MR",
    orientation: tuple[float, ...] = AXIAL,
    shape: tuple[int, int] = (192, 192),
    slices: int = 15,
    offsets_mm: Sequence[float] | None = None,
    enhanced: bool = False,
    shear: bool = False,
    header: Mapping[str, object] | None = None,
    without: tuple[str, ...] = (),
) -> Made:
    """Write a series of a head with a lesion into ``folder``.

    ``shape`` is (rows, columns). ``offsets_mm``: where along their normal slices lie, in ascending order,
    instead of ``slices`` evenly spaced ones; 0 is the middle of the head. ``header`` overrides attributes,
    ``without`` removes them. ``shear``: the slices follow each other along the patient's axis and not along
    their normal, as in a CT with a tilted gantry.
    """
    folder.mkdir(parents=True, exist_ok=True)
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(row, column)
    spacing = (230.0 / shape[0], 200.0 / shape[1])
    step = np.array([0.0, 0.0, 1.0]) if shear else normal
    offsets = np.linspace(-66, 66, slices) if offsets_mm is None else np.asarray(offsets_mm)
    slices = len(offsets)
    corners = [
        -row * spacing[1] * (shape[1] - 1) / 2 - column * spacing[0] * (shape[0] - 1) / 2 + step * offset
        for offset in offsets
    ]
    painted = [_paint(corner, row, column, spacing, shape, modality) for corner in corners]
    base = _base(modality, header or {}, enhanced)
    keys: tuple[tuple[str, int | None], ...]
    if enhanced:
        datasets = [_enhanced(base, corners, orientation, spacing, painted)]
        keys = tuple((str(datasets[0].SOPInstanceUID), n + 1) for n in range(slices))
    else:
        datasets = [
            _single(base, n, corner, orientation, spacing, pixels, without)
            for n, (corner, (pixels, _)) in enumerate(zip(corners, painted, strict=True))
        ]
        keys = tuple((str(d.SOPInstanceUID), None) for d in datasets)
    series = SeriesManifest(str(base.SeriesInstanceUID), modality, tuple(_write(folder, d) for d in datasets))
    manifest = StudyManifest(str(base.StudyInstanceUID), 1, (series,), "folder")
    return Made(manifest, tuple(m for _, m in painted), keys, series.series_instance_uid, spacing, modality)


def make_pair(folder: Path, **choices: Any) -> tuple[Made, Made]:
    """A CT and an MR series of the same head, in one study and one frame of reference."""
    header = choices.pop("header", {})
    shared = {name: derived_uid("test", "pair", name) for name in ("StudyInstanceUID", "FrameOfReferenceUID")}
    ct, mr = (
        make_study(
            folder / modality,
            modality=modality,
            header={**header, **shared, "SeriesInstanceUID": derived_uid("test", "pair", modality)},
            **choices,
        )
        for modality in ("CT", "MR")
    )
    manifest = replace(ct.manifest, series=(*ct.manifest.series, *mr.manifest.series))
    return replace(ct, manifest=manifest), replace(mr, manifest=manifest)


def _base(modality: str, header: Mapping[str, object], enhanced: bool) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = EnhancedMRImageStorage if enhanced else _SOP_CLASSES[modality]
    dataset.PatientName = "Doe^Jane"
    dataset.PatientID = "PAT-4711"
    dataset.IssuerOfPatientID = "HOSPITAL"
    dataset.PatientBirthDate = "19601231"
    dataset.PatientSex = "F"
    dataset.StudyInstanceUID = derived_uid("test", "study", modality, str(sorted(header.items(), key=str)))
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20261119", "101500", "S1"
    dataset.AccessionNumber = "A123"
    dataset.ReferringPhysicianName = "Ref^Doc"
    dataset.StudyDescription = "Head"
    dataset.SeriesInstanceUID = derived_uid(dataset.StudyInstanceUID, "series", str(enhanced))
    dataset.SeriesNumber = 3
    dataset.SeriesDescription = "AX FLAIR" if modality == "MR" else "HEAD 5MM"
    dataset.Modality = modality
    dataset.Manufacturer = "Maker"
    dataset.FrameOfReferenceUID = derived_uid(dataset.StudyInstanceUID, "frame")
    dataset.PositionReferenceIndicator = ""
    dataset.TimezoneOffsetFromUTC = "+0100"
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    return dataset


_SOP_CLASSES = {"MR": MRImageStorage, "CT": CTImageStorage}


def _single(
    base: Dataset,
    number: int,
    corner: NDArray[np.float64],
    orientation: tuple[float, ...],
    spacing: tuple[float, float],
    pixels: NDArray[np.int16],
    without: tuple[str, ...],
) -> Dataset:
    dataset = Dataset()
    dataset.update(base)
    dataset.SOPInstanceUID = derived_uid(base.SeriesInstanceUID, str(number))
    dataset.InstanceNumber = number + 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [round(float(v), 4) for v in corner]
    dataset.ImageOrientationPatient = list(orientation)
    dataset.PixelSpacing = list(spacing)
    dataset.SliceThickness = 5
    if base.Modality == "CT":
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
        pixels = pixels + 1024
    _set_pixels(dataset, pixels)
    for keyword in without:
        dataset.pop(keyword, None)
    return dataset


def _enhanced(
    base: Dataset,
    corners: list[NDArray[np.float64]],
    orientation: tuple[float, ...],
    spacing: tuple[float, float],
    painted: list[tuple[NDArray[np.int16], NDArray[np.bool_]]],
) -> Dataset:
    dataset = Dataset()
    dataset.update(base)
    dataset.SOPInstanceUID = derived_uid(base.SeriesInstanceUID, "enhanced")
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames = len(corners)
    plane, measures, shared = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = list(orientation)
    measures.PixelSpacing, measures.SliceThickness = list(spacing), 5
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for corner in corners:
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [round(float(v), 4) for v in corner]
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    _set_pixels(dataset, np.stack([pixels for pixels, _ in painted]))
    return dataset


def _set_pixels(dataset: Dataset, pixels: NDArray[np.int16]) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelData = pixels.astype("<i2").tobytes()


def _write(folder: Path, dataset: Dataset) -> ManifestInstance:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dcmwrite(path, dataset, enforce_file_format=True)
    digest = sha256(path.read_bytes()).hexdigest()
    return ManifestInstance(str(dataset.SOPInstanceUID), str(dataset.SOPClassUID), path, digest)


def _paint(
    corner: NDArray[np.float64],
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    spacing: tuple[float, float],
    shape: tuple[int, int],
    modality: str,
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Pixels and lesion mask of one slice, sampled from the head's geometry."""
    r, c = np.mgrid[: shape[0], : shape[1]]
    mm = corner + c[..., None] * spacing[1] * row + r[..., None] * spacing[0] * column
    radius = np.sqrt(((mm / HEAD_RADII_MM) ** 2).sum(-1))
    ventricle = np.sqrt((((mm - (0, 5, 10)) / (22, 30, 14)) ** 2).sum(-1)) < 1
    ventricle &= np.abs(mm[..., 0]) > 4
    lesion = np.linalg.norm(mm - LESION_CENTRE_MM, axis=-1) < LESION_RADIUS_MM
    texture = 14 * np.sin(mm[..., 0] / 5) * np.cos(mm[..., 1] / 6) * np.cos(mm[..., 2] / 7)
    if modality == "CT":
        values = np.select(
            [radius > 1, radius > 0.97, radius > 0.9, ventricle], [-1000, 30, 900, 8], 34 + texture / 4
        )
        values = np.where(lesion, 58, values)
    else:
        values = np.select(
            [radius > 1, radius > 0.95, radius > 0.9, ventricle], [4, 700, 40, 90], 380 + 3 * texture
        )
        values = np.where(lesion, 760, values)
    noise = np.random.default_rng(7).normal(0, 2 if modality == "CT" else 8, shape)
    return np.round(values + noise).astype(np.int16), lesion
