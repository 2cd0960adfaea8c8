"""Patient and study attributes of result objects, copied from the source.

Archives file an object by them, and readers take an object that lacks what its neighbours have for a mistake.
"""

import re
import warnings
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.sequence import Sequence
from pydicom.valuerep import VR, PersonName

from neurotriage.core.patient import PatientIdentity
from neurotriage.dicom.headers import MALFORMED

# Patient, Patient Study and General Study modules (PS3.3 C.7.1.1, C.7.2.2, C.7.2.1); type 2 attributes are
# always written, empty where the source has no value.
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
_OF_THE_PATIENT = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientBirthTime",
    "QualityControlSubject",
    "EthnicGroup",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientBodyMassIndex",
    "MedicalAlerts",
    "Allergies",
    "Occupation",
    "SmokingStatus",
    "PregnancyStatus",
    "LastMenstrualDate",
    "PatientState",
    "AdditionalPatientHistory",
    "AdmittingDiagnosesDescription",
    "AdmissionID",
    "ReasonForVisit",
    "ServiceEpisodeID",
    "ServiceEpisodeDescription",
)
_TYPE_3 = (
    *_OF_THE_PATIENT,
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "ReferencedStudySequence",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "ConsultingPhysicianName",
)
# Clinical Trial Subject and Study modules (C.7.1.3, C.7.2.3): copied, also where empty, if all type 1
# attributes have values.
_TYPE_1_OF_A_TRIAL = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")
_OF_A_TRIAL = (
    *_TYPE_1_OF_A_TRIAL,
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)
# Identifiers of patient, order and study are written as received, whatever their length or form: a changed
# value would be another patient, order or study, and the archive that accepted it from the source accepts it
# from us.
_IDENTIFIERS = frozenset(
    {
        "PatientID",
        "IssuerOfPatientID",
        "PatientName",
        "OtherPatientIDs",
        "AccessionNumber",
        "StudyID",
        "AdmissionID",
    }
)
_MAX_LENGTH = {VR.LO: 64, VR.SH: 16, VR.CS: 16}  # characters, PS3.5 table 6.2-1
_PN_GROUP_LENGTH = 64  # characters per component group
_MAX_TEXT_LENGTH = {VR.LT: 10240, VR.ST: 1024, VR.UT: None}  # of text that may have several lines
_LINE_BREAKS = "\r\n"
_PREGNANCY_STATUS = (1, 2, 3, 4)  # C.7.2.2, the only US here
_YES_OR_NO = ("YES", "NO")
_ENUMERATED = {
    "PatientSex": ("M", "F", "O"),
    "QualityControlSubject": _YES_OR_NO,
    "PatientIdentityRemoved": ("NO",),  # YES goes with the method, below
    "SmokingStatus": (*_YES_OR_NO, "UNKNOWN"),
}
_SEXES = {"MALE": "M", "FEMALE": "F", "OTHER": "O"}
# With the separators of ACR-NEMA (PS3.5 6.2, notes on DA and TM) and others; a time may follow a date.
_DATE = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})(?:[T ]?\d{2}[\d:.]*)?", re.ASCII)
_TIME = re.compile(r"(\d{1,2})(?:(:?)([0-5]\d)(?:\2([0-5]\d|60)(?:[.,](\d*))?)?)?", re.ASCII)
_AGE = re.compile(r"(\d{1,3})([DWMY])", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def copy_identity(header: Dataset, dataset: Dataset) -> None:
    """Copy patient and study attributes of the source (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2) to ``dataset``.

    Identifiers are copied unchanged. Other values are brought into the form of their VR (PS3.5 table 6.2-1)
    where that is possible (2026.11.28 becomes 20261128); descriptions are cut to the VR's length; a value
    that is still illegal is left empty.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings quote values, which must not reach a log
        _copy(header, dataset)


def name_patient(patient: PatientIdentity, dataset: Dataset) -> None:
    """Let ``dataset`` be of another patient: whatever else the source says of its own one is removed.

    Attributes of the study (PS3.3 C.7.2.1) stay.
    """
    for keyword in (*_OF_THE_PATIENT, *_OF_A_TRIAL):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.PatientID = patient.patient_id
    dataset.PatientName = patient.name
    dataset.PatientBirthDate = patient.birth_date
    dataset.PatientSex = patient.sex
    if patient.issuer:
        dataset.IssuerOfPatientID = patient.issuer


def _copy(header: Dataset, dataset: Dataset) -> None:
    for keyword in _TYPE_2:
        value = _value(header, keyword)
        setattr(dataset, keyword, "" if value is None else value)
    for keyword in _TYPE_3:
        value = _value(header, keyword)
        if value not in (None, ""):
            setattr(dataset, keyword, value)
    trial = {keyword: _value(header, keyword) for keyword in _OF_A_TRIAL if keyword in header}
    if all(trial.get(keyword) for keyword in _TYPE_1_OF_A_TRIAL):
        for keyword, value in trial.items():
            setattr(dataset, keyword, value or "")
    if "DeidentificationMethod" in dataset or "DeidentificationMethodCodeSequence" in dataset:
        dataset.PatientIdentityRemoved = "YES"


def _value(header: Dataset, keyword: str) -> Any:
    """An attribute's value as it may be written, or None where the source has no legal one.

    The VR is that of the dictionary (PS3.6), for a source may state another.
    """
    vr = VR(dictionary_VR(keyword))
    try:
        if keyword not in header or header[keyword].is_empty:
            return None
        element = header[keyword]
        if (element.VR == VR.SQ) != (vr == VR.SQ) or isinstance(element.value, bytes):
            return None
        if vr == VR.SQ:
            return _items(element.value)
        if vr == VR.US:
            return int(element.value) if element.value in _PREGNANCY_STATUS else None
        values = [str(value) for value in (element.value if element.VM > 1 else [element.value])]
        if isinstance(element.value, PersonName) and (
            keyword in _IDENTIFIERS or _legal(keyword, vr, values[0]) == values[0]
        ):
            return element.value  # with the bytes that it was read from
        if keyword in _IDENTIFIERS:
            return values if dictionary_VM(keyword) != "1" else "\\".join(values)
        if dictionary_VM(keyword) == "1":
            return _legal(keyword, vr, " ".join(values))
        return [legal for value in values if (legal := _legal(keyword, vr, value))] or None
    except MALFORMED:
        return None  # pydicom converts a value on access, and this one is malformed


def _items(items: Sequence) -> Sequence | None:
    """Copies of sequence items, without private attributes and the source's character set."""
    copies = [deepcopy(item) for item in items if len(item)]
    for item in copies:
        item.remove_private_tags()
        item.pop("SpecificCharacterSet", None)
    return Sequence(copies) if copies else None


def _date(text: str) -> str | None:
    matched = _DATE.fullmatch(text)
    if matched is None:
        return None
    year, month, day = int(matched[1]), int(matched[3]), int(matched[4])
    try:
        return f"{date(year, month, day):%Y%m%d}".zfill(8)
    except ValueError:
        return None


def _time(text: str) -> str | None:
    """PS3.5 6.2, TM; a fraction beyond millionths is cut."""
    matched = _TIME.fullmatch(text)
    if matched is None or int(matched[1]) > 23 or (len(matched[1]) == 1 and not matched[2]):
        return None
    hour, _, minute, second, fraction = matched.groups()
    whole = hour.zfill(2) + (minute or "") + (second or "")
    return f"{whole}.{fraction[:6]}" if fraction else whole


def _age(text: str) -> str | None:
    matched = _AGE.fullmatch(text.upper())
    return f"{matched[1].zfill(3)}{matched[2]}" if matched else None


def _number(text: str) -> str | None:
    text = text.replace(",", ".")
    if _DECIMAL.fullmatch(text) is None:
        return None
    return text if len(text) <= 16 else f"{float(text):.9g}"


_FORMS: dict[VR, Callable[[str], str | None]] = {VR.DA: _date, VR.TM: _time, VR.AS: _age, VR.DS: _number}


def _legal(keyword: str, vr: VR, text: str) -> str | None:
    """Text within the rules of its VR (PS3.5 table 6.2-1), or None."""
    if vr in _MAX_TEXT_LENGTH:
        lines = "".join(c for c in text if c.isprintable() or c in _LINE_BREAKS).strip()
        return lines[: _MAX_TEXT_LENGTH[vr]]
    text = "".join(c for c in text if c.isprintable()).strip()
    if keyword in _ENUMERATED:
        word = _SEXES.get(text.upper(), text.upper())
        return word if word in _ENUMERATED[keyword] else None
    if vr == VR.PN:
        groups = text.replace("\\", " ").split("=")[:3]
        return "=".join(group[:_PN_GROUP_LENGTH] for group in groups)
    if vr in _FORMS:
        return _FORMS[vr](text)
    limit = _MAX_LENGTH.get(vr)
    return text.replace("\\", " ")[:limit].rstrip() if limit else text
