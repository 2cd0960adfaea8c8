"""Distinguishes the patients of a study without identifying them.

A patient key has five parts, joined by dots: hashes of the Patient ID, of the three component groups of the
name (alphabetic, ideographic, phonetic; PS3.5 6.2.1) and of the birth date; a part is empty where the
attribute is.
"""

import re
import unicodedata
from collections.abc import Iterable
from hashlib import sha256

from neurotriage.core.values import Reason, ReasonCode

_GROUPS = 3  # of a name (PS3.5 6.2.1)
_SHORT = 16  # hexadecimal digits; those of names and dates are only compared within a study
_NO_DIGITS = re.compile(r"\D", re.ASCII)


def patient_key(patient_id: str, name: str, birth_date: str) -> str:
    """The key of a patient; arguments are values of PatientID, PatientName and PatientBirthDate.

    Padding, trailing carets, case and width of letters in a name are ignored; IDs are compared as they are
    (00123 is not 123).
    """
    groups = (name.split("=") + [""] * _GROUPS)[:_GROUPS]
    parts = [_hash(_plain(group))[:_SHORT] for group in groups]
    return ".".join((_hash(patient_id.strip()), *parts, _hash(_NO_DIGITS.sub("", birth_date))[:_SHORT]))


def has_id(key: str, patient_id: str) -> bool:
    """Whether a key is of a patient with this ID (0010,0020), which is not empty."""
    return bool(patient_id.strip()) and _parts(key)[0] == _hash(patient_id.strip())


def states_id(key: str) -> bool:
    """Whether a key is of a patient with an ID."""
    return bool(_parts(key)[0])


def id_part(patient_id: str) -> str:
    """The first part of all keys of a patient with this ID, which is not empty."""
    return _hash(patient_id.strip())


def count_patients(keys: Iterable[str]) -> int:
    """The least number of patients that the objects of one study, by their keys, can belong to.

    Different IDs are different patients, whatever the names. An object without an ID belongs to a patient
    with one unless name and birth date both differ; two objects without IDs differ where either does.
    """
    patients: list[list[str]] = []
    # The most complete keys first, so that the others are compared with them.
    for key in sorted(set(keys), key=lambda key: (not _parts(key)[0], key.count(".."), key)):
        parts = _parts(key)
        if all(_differ(parts, other) for other in patients):
            patients.append(parts)
    return len(patients)


def identity_conflict(keys: Iterable[str], study_instance_uid: str) -> Reason | None:
    """The reason not to analyse a study with objects of several patients, by their keys; else None.

    ``study_instance_uid``: empty where the objects have none.
    """
    patients = count_patients(keys)
    if patients < 2:
        return None
    whose = (
        f"{patients} different patients share this StudyInstanceUID"
        if study_instance_uid
        else f"these images have no StudyInstanceUID and are of {patients} different patients"
    )
    return Reason(ReasonCode.IDENTITY_CONFLICT, f"{whose}; correct the identity and send again")


def _differ(first: list[str], second: list[str]) -> bool:
    if first[0] and second[0]:
        return first[0] != second[0]
    groups = [(a, b) for a, b in zip(first[1:-1], second[1:-1], strict=True) if a and b]
    names = bool(groups) and all(a != b for a, b in groups)
    births = bool(first[-1] and second[-1]) and first[-1] != second[-1]
    return (names and births) if first[0] or second[0] else (names or births)


def _parts(key: str) -> list[str]:
    """The five parts of a key; keys of older versions are a hash of the ID alone."""
    parts = key.split(".")
    return parts + [""] * (_GROUPS + 2 - len(parts))


def _plain(group: str) -> str:
    letters = unicodedata.normalize("NFKC", group).casefold()
    return "^".join(" ".join(component.split()) for component in letters.split("^")).rstrip("^")


def _hash(value: str) -> str:
    return sha256(value.encode("utf-8", "replace")).hexdigest() if value else ""
