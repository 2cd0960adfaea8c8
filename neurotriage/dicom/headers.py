"""Reads the header of an instance, without its pixels."""

import errno
import re
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import pydicom
from pydicom import charset
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from neurotriage.core.errors import Refused
from neurotriage.core.placement import Placement
from neurotriage.core.rejection import RejectionNote
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.data_set import digest_of_file
from neurotriage.dicom.patients import patient_key
from neurotriage.dicom.peer_text import peer_text
from neurotriage.dicom.plain import plain_integer, plain_text, tag_of

# pydicom 3.0 assumes that Python's codec removes the escape sequences of ISO 2022 IR 58 (PS3.5 annex K). It
# does not, and they would stay in names.
charset.handled_encodings = tuple(name for name in charset.handled_encodings if name != "iso_ir_58")  # type: ignore[assignment]

# Real devices write components with leading zeros, so the check is laxer than PS3.5 section 9.1.
_UID: Final = re.compile(r"[0-9.]{1,64}", re.ASCII)
_TEXT_LIMIT: Final = 256
# Limit of a bigint column; some devices exceed the 32 bits of IS (PS3.5 6.2) with numbers made of dates.
_NUMBER_LIMIT: Final = 2**63 - 1

# Errors that pydicom raises for bytes that are no data set, or a value that does not fit its type.
MALFORMED: Final = (
    ValueError, TypeError, LookupError, AttributeError, NotImplementedError, EOFError, OverflowError,
    struct.error, zlib.error, BytesLengthException,
)  # fmt: skip

# And those for a value in memory: a sequence that is cut short is told as a file that ends too early.
UNREADABLE_VALUE: Final = (*MALFORMED, OSError)

# Errors that concern one file, where its folder is there.
_FILE_ERRNOS: Final = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
)

# Our value of Manufacturer, at the top level or in ContributingEquipmentSequence. Anybody can write it.
MANUFACTURER: Final = "neurotriage"
# The SOP classes of our results (PS3.4 B.5). No analysed image is of one of them, so mistaking an object for
# our result never prevents an analysis.
RESULT_CLASSES: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in (
        "7",  # Secondary Capture
        "7.4",  # Multi-frame True Color Secondary Capture
        "11.1",  # Grayscale Softcopy Presentation State
        "30",  # Parametric Map
        "66.4",  # Segmentation
        "66.7",  # Label Map Segmentation
        "88.34",  # Comprehensive 3D SR
        "88.59",  # Key Object Selection
        "104.1",  # Encapsulated PDF
    )
)


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """The attributes of an instance that are recorded. Absent values are empty or None."""

    path: Path
    digest: str  # SHA-256 of the file's data set, hex
    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    patient_id: str
    issuer_of_patient_id: str
    patient_key: str  # hashes that distinguish patients without identifying them (``patients.patient_key``)
    accession_number: str
    study_date: str
    study_description: str
    series_description: str
    series_number: int | None
    instance_number: int | None
    body_part: str
    manufacturer: str
    model_name: str
    station_name: str
    claims_ours: bool  # names neurotriage as its manufacturer, which is no proof
    creator_uid: str  # (0008,0014): in our results, the installation
    requested_priority: str = ""  # (0040,1003), all values at the top level and in (0040,0275)
    study_priority: str = ""  # (0032,000C), retired
    patient_location: str = ""  # (0038,0300)
    requesting_service: str = ""  # (0032,1033)
    department: str = ""  # (0008,1040), of the scanner
    placement: Placement = field(default_factory=Placement)  # for the listener, see ``dicom.placement``
    rejection: RejectionNote | None = None  # for the listener, see ``dicom.rejections``

    @property
    def looks_like_a_result(self) -> bool:
        """Names neurotriage as its manufacturer and is of a SOP class of our results; no proof."""
        return self.claims_ours and self.sop_class_uid in RESULT_CLASSES


def read_header(path: Path) -> FileDataset:
    """Read a DICOM file up to its pixel data; also one without preamble or File Meta (PS3.10 7.1).

    Raises ``Refused`` (NOT_DICOM) where it is no DICOM, cannot be parsed, or this one file is missing or not
    readable; ``OSError`` where the storage fails.
    """
    return read_image_header(path)[0]


def read_image_header(path: Path) -> tuple[FileDataset, bool]:
    """As ``read_header``, and whether pixel data follow the header. Raises the same errors."""
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=_looks_bare(file))
            # Reading stops at the pixel data or at the end; a deflated file is always read to its end.
            deflated = text(dataset.file_meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
            has_pixels = deflated or bool(file.read(1))
    except InvalidDicomError as error:
        raise Refused(ReasonCode.NOT_DICOM, "not a DICOM file") from error
    except RecursionError as error:
        raise Refused(ReasonCode.NOT_DICOM, "sequences are nested too deep to be read") from error
    except MemoryError as error:
        raise Refused(ReasonCode.NOT_DICOM, "the header needs too much memory") from error
    except MALFORMED as error:
        raise Refused(ReasonCode.NOT_DICOM, f"the header cannot be parsed: {first_line(error)}") from error
    except OSError as error:
        raise refusal_of(error, path, ReasonCode.NOT_DICOM) from error
    if "SOPClassUID" not in dataset and "StudyInstanceUID" not in dataset and "Rows" not in dataset:
        raise Refused(ReasonCode.NOT_DICOM, "no DICOM attributes found")
    return dataset, has_pixels


def first_line(error: BaseException) -> str:
    """The first line of an error's message, cut to 200 characters; its type where there is none."""
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


def refusal_of(error: OSError, path: Path, code: ReasonCode) -> Refused:
    """The refusal of a file for an ``OSError``; raises ``error`` where the storage is at fault.

    pydicom raises an ``OSError`` without errno for bad bytes. A file that is missing from an existing folder,
    or not readable, will not be there at the next try, either.
    """
    if error.errno is None:
        return Refused(code, f"the file cannot be read: {first_line(error)}")
    # Stored files lie two folders below the storage root; where both are missing, it is not mounted.
    if error.errno in _FILE_ERRNOS and any(folder.is_dir() for folder in (path.parent, path.parent.parent)):
        return Refused(code, f"the file cannot be read: {error.strerror}")
    raise error


def _looks_bare(file: BinaryIO) -> bool:
    """Whether a file without preamble starts with a tag of group 0002 or 0008, little endian."""
    start = file.read(132)
    file.seek(0)
    return start[128:132] != b"DICM" and start[:2] in (b"\x02\x00", b"\x08\x00")


def read_instance(path: Path, digest: str = "") -> InstanceHeader:
    """The header of one file; a ``digest`` that is known need not be computed. Raises as ``read_header``."""
    dataset = read_header(path)
    return describe(dataset, path, digest or digest_of_file(path))


def describe(dataset: Dataset, path: Path, digest: str) -> InstanceHeader:
    """The header of a data set whose digest (SHA-256, hex) is given. UIDs fall back on the File Meta."""
    meta = getattr(dataset, "file_meta", None) or Dataset()
    return InstanceHeader(
        path=path,
        digest=digest,
        sop_instance_uid=uid(dataset, "SOPInstanceUID") or uid(meta, "MediaStorageSOPInstanceUID"),
        sop_class_uid=uid(dataset, "SOPClassUID") or uid(meta, "MediaStorageSOPClassUID"),
        study_instance_uid=uid(dataset, "StudyInstanceUID"),
        series_instance_uid=uid(dataset, "SeriesInstanceUID"),
        modality=text(dataset, "Modality").upper(),
        patient_id=text(dataset, "PatientID"),
        issuer_of_patient_id=text(dataset, "IssuerOfPatientID"),
        patient_key=patient_key(
            text(dataset, "PatientID"), text(dataset, "PatientName"), text(dataset, "PatientBirthDate")
        ),
        accession_number=text(dataset, "AccessionNumber"),
        study_date=text(dataset, "StudyDate"),
        study_description=text(dataset, "StudyDescription"),
        series_description=text(dataset, "SeriesDescription"),
        series_number=_number(dataset, "SeriesNumber"),
        instance_number=_number(dataset, "InstanceNumber"),
        body_part=text(dataset, "BodyPartExamined").upper(),
        manufacturer=text(dataset, "Manufacturer"),
        model_name=text(dataset, "ManufacturerModelName"),
        station_name=text(dataset, "StationName"),
        claims_ours=_claims_ours(dataset),
        creator_uid=uid(dataset, "InstanceCreatorUID"),
        requested_priority=_requested_priority(dataset),
        study_priority=text(dataset, "StudyPriorityID"),
        patient_location=text(dataset, "CurrentPatientLocation"),
        requesting_service=text(dataset, "RequestingService"),
        department=text(dataset, "InstitutionalDepartmentName"),
    )


def _requested_priority(dataset: Dataset) -> str:
    """Requested Procedure Priority (PS3.3 C.4.11), also as scanners copy it from the worklist."""
    values = [text(item, "RequestedProcedurePriority") for item in (dataset, *_items(dataset))]
    return peer_text("\\".join(dict.fromkeys(filter(None, values))), _TEXT_LIMIT)


def _items(dataset: Dataset) -> list[Dataset]:
    items = _get(dataset, "RequestAttributesSequence") or ()
    try:
        return [item for item in items if isinstance(item, Dataset)]
    except MALFORMED:  # not a sequence
        return []


def is_own_result(dataset: Dataset) -> bool:
    """As ``InstanceHeader.looks_like_a_result``, for a data set.

    No proof, but enough to leave out an object that is never analysed; the listener looks in our records.
    """
    return _claims_ours(dataset) and uid(dataset, "SOPClassUID") in RESULT_CLASSES


def _claims_ours(dataset: Dataset) -> bool:
    if text(dataset, "Manufacturer") == MANUFACTURER:
        return True
    equipment = _get(dataset, "ContributingEquipmentSequence") or ()
    try:
        return any(text(item, "Manufacturer") == MANUFACTURER for item in equipment)
    except MALFORMED:  # not a sequence
        return False


def text(dataset: Dataset, name: str) -> str:
    """An attribute as one trimmed line of at most 256 characters; "" where it is absent or unreadable."""
    tag = tag_of(dataset, name)
    if tag is None:
        return ""
    plain = plain_text(dataset, tag)
    if plain is not None:
        return peer_text(plain, _TEXT_LIMIT)
    value = _get(dataset, name)
    if value is None:
        return ""
    joined = "\\".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value)
    return peer_text(joined, _TEXT_LIMIT)


def uid(dataset: Dataset, name: str) -> str:
    """An attribute that is a usable UID; "" where it is not."""
    value = text(dataset, name)
    return value if _UID.fullmatch(value) else ""


def _number(dataset: Dataset, name: str) -> int | None:
    tag = tag_of(dataset, name)
    plain = None if tag is None else plain_integer(dataset, tag)
    if plain is not None:
        return plain
    value = _get(dataset, name)
    try:
        number = None if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is None or abs(number) <= _NUMBER_LIMIT else None


def value_of(dataset: Dataset, name: str) -> Any:
    """The value of an attribute by keyword; None where it is absent, or malformed and so of no use."""
    tag = tag_of(dataset, name)
    if tag is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return dataset[tag].value
        except UNREADABLE_VALUE:
            return None


def _get(dataset: Dataset, name: str) -> Any:
    value = value_of(dataset, name)
    return list(value) if type(value).__name__ == "MultiValue" else value
