"""Whose images these are: what tells patients apart, and what does not.

A patient's key names nobody and has five parts, joined by dots: hashes of the Patient ID, of the three groups
of the name (alphabetic, ideographic, phonetic) and of the birth date; empty where the object does not say it.
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
    """The key of the patient that an object names.

    Of a name, padding, trailing carets, case and width of letters do not count; an ID counts as it is
    (00123 is not 123).
    """
    groups = (name.split("=") + [""] * _GROUPS)[:_GROUPS]
    parts = [_hash(_plain(group))[:_SHORT] for group in groups]
    return ".".join((_hash(patient_id.strip()), *parts, _hash(_NO_DIGITS.sub("", birth_date))[:_SHORT]))


def count_patients(keys: Iterable[str]) -> int:
    """How many patients the objects of one study must be of.

    Two IDs are two patients, however the names are spelt. An object without an ID is no other patient than
    one with an ID, unless name and birth date both speak against it; objects without IDs are told apart by
    either.
    """
    patients: list[list[str]] = []
    # What says most comes first, so that each of the others is held against it.
    for key in sorted(set(keys), key=lambda key: (not _parts(key)[0], key.count(".."), key)):
        parts = _parts(key)
        if all(_differ(parts, other) for other in patients):
            patients.append(parts)
    return len(patients)


def identity_conflict(keys: Iterable[str], study_instance_uid: str) -> Reason | None:
    """Several patients in one study: nobody can say whose result it would be."""
    patients = count_patients(keys)
    if patients < 2:
        return None
    whose = (
        f"{patients} different patients share this StudyInstanceUID"
        if study_instance_uid
        else f"these images have no StudyInstanceUID and are of {patients} different patients"
    )
    return Reason(ReasonCode.IDENTITY_CONFLICT, f"{whose}; correct the identity and send again")


def _differ(one: list[str], other: list[str]) -> bool:
    if one[0] and other[0]:
        return one[0] != other[0]
    said = [(a, b) for a, b in zip(one[1:-1], other[1:-1], strict=True) if a and b]
    names = bool(said) and all(a != b for a, b in said)
    births = bool(one[-1] and other[-1]) and one[-1] != other[-1]
    return (names and births) if one[0] or other[0] else (names or births)


def _parts(key: str) -> list[str]:
    """A key of an older version is a hash of the ID alone."""
    parts = key.split(".")
    return parts + [""] * (_GROUPS + 2 - len(parts))


def _plain(group: str) -> str:
    letters = unicodedata.normalize("NFKC", group).casefold()
    return "^".join(" ".join(component.split()) for component in letters.split("^")).rstrip("^")


def _hash(value: str) -> str:
    return sha256(value.encode("utf-8", "replace")).hexdigest() if value else ""
