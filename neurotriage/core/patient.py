"""A patient as a correction names one, and a merge of two."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

_ID_LENGTH: Final = 64  # LO, PS3.5 table 6.2-1
_GROUP_LENGTH: Final = 64  # of a component group of PN
_GROUPS: Final = 3
_SEXES: Final = ("", "M", "F", "O")  # PS3.3 C.7.1.1
_BIRTH_DATE: Final = re.compile(r"\d{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PatientIdentity:
    """Values of the patient module (PS3.3 C.7.1.1); all but the ID may be empty.

    Raises ``ValueError`` with a sentence that names no value where one is not legal (PS3.5 table 6.2-1).
    """

    patient_id: str  # (0010,0020)
    issuer: str = ""  # (0010,0021)
    name: str = ""  # (0010,0010), components joined by ^
    birth_date: str = ""  # (0010,0030), YYYYMMDD
    sex: str = ""  # (0010,0040)

    def __post_init__(self) -> None:
        if not self.patient_id.strip():
            raise ValueError("the patient ID is empty")
        for what, value in (("patient ID", self.patient_id), ("issuer", self.issuer)):
            if len(value) > _ID_LENGTH or not _is_text(value):
                raise ValueError(f"the {what} is not one line of at most {_ID_LENGTH} characters without \\")
        groups = self.name.split("=")
        if len(groups) > _GROUPS or max(map(len, groups)) > _GROUP_LENGTH or not _is_text(self.name):
            raise ValueError(f"the name is not one line of at most {_GROUP_LENGTH} characters without \\")
        if self.birth_date and not _is_date(self.birth_date):
            raise ValueError("the birth date is not a date as YYYYMMDD")
        if self.sex not in _SEXES:
            raise ValueError("the sex is not M, F or O")


@dataclass(frozen=True, slots=True)
class PatientMerge:
    """Two patients who turned out to be one: images of the prior are the surviving one's."""

    prior_id: str  # (0010,0020) until now
    prior_issuers: frozenset[str]  # names of whoever gave that ID, as in (0010,0021); empty: not stated
    to: PatientIdentity


def _is_text(value: str) -> bool:
    return value.isprintable() and "\\" not in value


def _is_date(value: str) -> bool:
    try:
        return bool(_BIRTH_DATE.fullmatch(value) and datetime.strptime(value, "%Y%m%d"))  # noqa: DTZ007
    except ValueError:
        return False
