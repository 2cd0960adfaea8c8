"""What all result objects share: the source's identity, our series and equipment, and Part 10 bytes.

Nothing here asks a clock or draws a random number: rebuilt, an object has the same bytes.
"""

import io
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import VR

from neurotriage.core.headers import MANUFACTURER
from neurotriage.core.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derived_uid
from neurotriage.core.values import (
    SERIES_LABELS,
    Analysis,
    Claims,
    Prediction,
    ResultKind,
    ResultObject,
    SeriesLabel,
)

MODEL_NAME = "neurotriage head triage"

# Patient, Patient Study and General Study modules (PS3.3 C.7.1.1, C.7.2.2, C.7.2.1); type 2 ones are always
# written, empty where the source has none.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_TYPE_3 = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "ReferencedStudySequence",
)
# A viewer may show only the newest object of a series of these kinds.
_SERIES_EACH = frozenset(
    {
        ResultKind.OVERLAY_FRAMES,
        ResultKind.OVERLAY_SERIES_FRAMES,
        ResultKind.SEGMENTATION,
        ResultKind.LABELMAP,
        ResultKind.PARAMETRIC_MAP,
    }
)
_MAX_LENGTH = {VR.LO: 64, VR.SH: 16, VR.CS: 16}  # characters, PS3.5 table 6.2-1
_PN_GROUP_LENGTH = 64  # characters per component group
_ENUMERATED = {"PatientSex": ("M", "F", "O")}
_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_AGE = re.compile(r"\d{3}[DWMY]")
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What every object of one analysis is made within."""

    analysis: Analysis
    study_uid: str
    header: Dataset  # of a source image; identity is copied from it
    installation_uid: str
    claims: Claims = Claims.RESEARCH
    labels: Mapping[ResultKind, SeriesLabel] = field(default_factory=lambda: SERIES_LABELS)

    def uid(self, kind: ResultKind, *parts: str) -> str:
        """A UID that depends on all that shapes an object, and on nothing else.

        That is installation, study, analysed bytes, models, software version, claims, kind, its series'
        label and ``parts``.
        """
        analysis, label = self.analysis, self.labels[kind]
        models = sorted({prediction.sha256 for prediction in analysis.predictions})
        return derived_uid(
            self.installation_uid,
            self.study_uid,
            analysis.input_digest,
            *models,
            analysis.software_version,
            self.claims.value,
            kind.value,
            str(label.number),
            label.description,
            *parts,
        )

    @property
    def made_at(self) -> datetime:
        """When the study was analysed, in the time zone of the source's own dates."""
        return self.analysis.analysed_at.astimezone(_zone(self.header, self.analysis.analysed_at))


def new_object(
    frame: Frame, kind: ResultKind, index: int, sop_class_uid: str, modality: str, *parts: str
) -> Dataset:
    """A data set with the modules that all result objects share (PS3.3 C.7 and C.12.1).

    ``parts``: what else its UID depends on. Kinds in ``_SERIES_EACH`` have a series for each object.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = frame.uid(kind, str(index), *parts)
    dataset.InstanceCreatorUID = frame.installation_uid
    _copy_identity(frame, dataset)
    dataset.Modality = modality
    alone = kind in _SERIES_EACH
    dataset.InstanceNumber = 1 if alone else index + 1
    dataset.SeriesInstanceUID = frame.uid(kind, "series", *([str(index)] if alone else []))
    dataset.SeriesNumber = frame.labels[kind].number
    dataset.SeriesDescription = frame.labels[kind].description
    _date(frame, dataset)
    _sign(frame, dataset)
    return dataset


def result_of(dataset: Dataset, kind: ResultKind, index: int) -> ResultObject:
    """The finished object with its bytes."""
    return ResultObject(
        kind=kind,
        index=index,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        data=part10_bytes(dataset),
    )


def decimal(value: float) -> str:
    """A number as a Decimal String of at most 16 characters (PS3.5 6.2)."""
    for digits in range(15, 5, -1):
        shown = f"{value:.{digits}g}"
        if len(shown) <= 16:
            return shown
    raise ValueError(f"{value} does not fit a Decimal String")


def lossy_history(header: Dataset, dataset: Dataset) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5)."""
    lossy = str(header.get("LossyImageCompression", "")) == "01"
    dataset.LossyImageCompression = "01" if lossy else "00"
    if lossy and "LossyImageCompressionRatio" in header:
        dataset.LossyImageCompressionRatio = header.LossyImageCompressionRatio
    if lossy and "LossyImageCompressionMethod" in header:
        dataset.LossyImageCompressionMethod = header.LossyImageCompressionMethod


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """A code sequence item (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def part10_bytes(dataset: Dataset) -> bytes:
    """A whole DICOM file in Explicit VR Little Endian (PS3.10)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _zone(header: Dataset, analysed_at: datetime) -> timezone:
    """The source's TimezoneOffsetFromUTC, else the offset that the analysis was timed in."""
    offset = str(header.get("TimezoneOffsetFromUTC", "") or "").strip()
    if not _OFFSET.fullmatch(offset):
        return timezone(analysed_at.utcoffset() or timedelta())
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _date(frame: Frame, dataset: Dataset) -> None:
    made = frame.made_at
    dataset.TimezoneOffsetFromUTC = made.strftime("%z")[:5]
    for name in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{name}Date", made.strftime("%Y%m%d"))
        setattr(dataset, f"{name}Time", made.strftime("%H%M%S"))


def _sign(frame: Frame, dataset: Dataset) -> None:
    """Say whose work this is: General Equipment (PS3.3 C.7.5.1) and Contributing Equipment (C.12.1)."""
    analysis = frame.analysis
    models = sorted({f"{p.model} {p.version}" for p in analysis.predictions})
    versions = [version[:64] for version in (analysis.software_version, *models)]
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.SoftwareVersions = versions
    dataset.DeviceSerialNumber = frame.installation_uid
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([code_item("109102", "DCM", "Processing Equipment")])
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = MODEL_NAME
    item.SoftwareVersions = versions
    item.ContributionDateTime = frame.made_at.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = (
        f"Automatic analysis by a research model, not for diagnosis; claims: {frame.claims.value}"
    )
    models_apart = {prediction.sha256: prediction for prediction in analysis.predictions}
    dataset.ContributingEquipmentSequence = Sequence(
        [item, *(_model_item(frame, models_apart[sha256]) for sha256 in sorted(models_apart))]
    )


def _model_item(frame: Frame, prediction: Prediction) -> Dataset:
    """A model as a device of its own: its UID follows from its weights, wherever it is installed."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([code_item("109102", "DCM", "Processing Equipment")])
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = prediction.model[:64]
    item.SoftwareVersions = prediction.version[:64]
    item.DeviceUID = derived_uid("neurotriage model", prediction.sha256)
    item.ContributionDateTime = frame.made_at.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = f"Model weights sha256 {prediction.sha256}"
    return item


def _copy_identity(frame: Frame, dataset: Dataset) -> None:
    """Patient and study attributes as the source has them, so that an archive files the object with it.

    PatientID is copied as it is, whatever its length: an archive makes a second study of another id.
    Other values that break the rules of their VR are cut or left empty.
    """
    dataset.StudyInstanceUID = frame.study_uid
    for keyword in _TYPE_2:
        value = _value(frame.header, keyword)
        setattr(dataset, keyword, "" if value is None else value)
    for keyword in _TYPE_3:
        value = _value(frame.header, keyword)
        if value not in (None, ""):
            setattr(dataset, keyword, value)
    if "DeidentificationMethod" in dataset or "DeidentificationMethodCodeSequence" in dataset:
        dataset.PatientIdentityRemoved = "YES"


def _value(header: Dataset, keyword: str) -> Any:
    """An attribute's value as it may be written, or None where the source has none that is legal."""
    try:
        if keyword not in header or header[keyword].is_empty:
            return None
        element = header[keyword]
        if element.VR == VR.SQ:
            return _items(element.value)
        if keyword == "PatientID":
            return element.value
        return _legal(keyword, VR(element.VR), str(element.value))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None  # pydicom converts values when they are asked for, and this one is malformed


def _items(items: Sequence) -> Sequence | None:
    """Copies of sequence items, without private attributes and the source's character set."""
    copies = [deepcopy(item) for item in items if len(item)]
    for item in copies:
        item.remove_private_tags()
        item.pop("SpecificCharacterSet", None)
    return Sequence(copies) if copies else None


_RULES: dict[VR, Callable[[str], bool]] = {
    VR.DA: lambda text: bool(_DATE.fullmatch(text)),
    VR.TM: lambda text: bool(_TIME.fullmatch(text)),
    VR.AS: lambda text: bool(_AGE.fullmatch(text)),
    VR.DS: lambda text: bool(_DECIMAL.fullmatch(text)) and len(text) <= 16,
}


def _legal(keyword: str, vr: VR, text: str) -> str | None:
    """Text within the rules of its VR (PS3.5 table 6.2-1), or None."""
    text = "".join(c for c in text if c.isprintable()).strip()
    if keyword in _ENUMERATED:
        return text if text in _ENUMERATED[keyword] else None
    if vr == VR.PN:
        groups = text.replace("\\", " ").split("=")[:3]
        return "=".join(group[:_PN_GROUP_LENGTH] for group in groups)
    if vr in _RULES:
        return text if _RULES[vr](text) else None
    limit = _MAX_LENGTH.get(vr)
    return text.replace("\\", " ")[:limit].rstrip() if limit else text
