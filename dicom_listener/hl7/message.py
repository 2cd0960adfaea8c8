"""The message that merges patients: HL7 v2 ADT^A40 (v2.5.1, 3.3.40)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dicom_listener.hl7.encoding import Segment, Separators, UnusableMessage, component, segments
from neurotriage.core.patient import PatientIdentity, PatientMerge

MAX_MERGES: Final = 100
_CONTROL_ID_LENGTH: Final = 199  # MSH-10, since v2.7
_TYPE: Final = (["ADT", "A40"], ["ADT", "A40", "ADT_A39"])  # MSH-9
_PRODUCTION: Final = ("", "P")  # MSH-11: others are for training and debugging
# PID-8 (HL7 table 0001) to (0010,0040); what is unknown is left empty.
_SEXES: Final = {"": "", "M": "M", "F": "F", "O": "O", "A": "O", "N": "O", "U": ""}
_REPRESENTATIONS: Final = "AIP"  # XPN-8 in the order of the component groups of PN (PS3.5 6.2.1)
_DATE: Final = re.compile(r"\d{4}(\d{2}(\d{2}.*)?)?", re.ASCII)  # to the year, the month, or the day
_DAY: Final = 8  # digits
_NOT_IN_NAMES: Final = frozenset("^=")


@dataclass(frozen=True, slots=True)
class MergeMessage:
    """A message and what it merges, in its order."""

    control_id: str  # MSH-10
    merges: tuple[PatientMerge, ...]


@dataclass(frozen=True, slots=True)
class _Identifier:
    """A patient's ID (CX) and whoever gave it: namespace and universal ID, as far as they are stated."""

    id: str
    type: str
    authority: tuple[str, ...]

    @property
    def issuer(self) -> str:
        return self.authority[0] if self.authority else ""


def parse_merge(data: bytes) -> MergeMessage:
    """Read a whole message. Raises ``UnusableMessage``, and nothing else, whatever the bytes are."""
    header, *others = segments(data)
    separators = header.separators
    if [separators.text(part) for part in header.components(9)] not in _TYPE:
        raise UnusableMessage("MSH-9 is not ADT^A40")
    if header.text(11) not in _PRODUCTION:
        raise UnusableMessage("MSH-11 says that it is not for production")
    control_id = header.text(10)
    if not control_id or len(control_id) > _CONTROL_ID_LENGTH or not control_id.isprintable():
        raise UnusableMessage("MSH-10 is no control ID")
    merges: list[PatientMerge] = []
    pid: Segment | None = None
    for segment in others:
        if segment.name == "PID":
            if pid is not None:
                raise UnusableMessage("a PID segment has no MRG segment")
            pid = segment
        elif segment.name == "MRG":
            if pid is None:
                raise UnusableMessage("an MRG segment has no PID segment")
            merges += _merges(pid, segment)
            pid = None
    if pid is not None or not merges:
        raise UnusableMessage("a PID segment has no MRG segment" if pid else "it has no PID segment")
    _require_order(merges)
    return MergeMessage(control_id, tuple(merges))


def _require_order(merges: Sequence[PatientMerge]) -> None:
    """Applied twice, they must end as they do when applied once."""
    if len(merges) > MAX_MERGES:
        raise UnusableMessage(f"it merges more than {MAX_MERGES} pairs of patients")
    gone: set[str] = set()
    for one in merges:
        if one.prior_id in gone:
            raise UnusableMessage("it merges a patient twice")
        gone.add(one.prior_id)
        if one.to.patient_id in gone:
            raise UnusableMessage("it merges a patient into one who is merged away")


def _merges(pid: Segment, mrg: Segment) -> list[PatientMerge]:
    """A merge for each prior ID; one that the surviving patient keeps, beside others, is none."""
    surviving = _identifiers(pid, 3)
    pairs = [(prior, _survivor(surviving, prior)) for prior in _identifiers(mrg, 1)]
    differing = [(prior, to) for prior, to in pairs if prior.id != to.id]
    if not differing:
        raise UnusableMessage("it merges a patient into itself")
    name, birth_date, sex = _name(pid), _birth_date(pid.text(7)), _sex(pid.text(8))
    return [
        PatientMerge(
            _identity("MRG", prior).patient_id,
            frozenset(prior.authority),
            _identity("PID", to, name, birth_date, sex),
        )
        for prior, to in differing
    ]


def _identity(segment: str, identifier: _Identifier, *others: str) -> PatientIdentity:
    try:
        return PatientIdentity(identifier.id, identifier.issuer, *others)
    except ValueError as error:
        raise UnusableMessage(f"{segment}: {error}") from None


def _identifiers(segment: Segment, number: int) -> list[_Identifier]:
    found = [_identifier(segment.separators, one) for one in segment.repetitions(number)]
    if not found or not all(one.id for one in found):
        raise UnusableMessage(f"{segment.name}-{number} has no patient ID")
    return found


def _identifier(separators: Separators, components: Sequence[str]) -> _Identifier:
    number, given_by, of_type = (component(separators, components, place) for place in (1, 4, 5))
    universal = component(separators, components, 4, 2)
    return _Identifier(number, of_type, tuple(filter(None, (given_by, universal))))


def _survivor(surviving: Sequence[_Identifier], prior: _Identifier) -> _Identifier:
    """The surviving ID that takes the place of the prior one: of the same authority, else of none stated."""
    same = [one for one in surviving if set(one.authority) & set(prior.authority)]
    fitting = same or [one for one in surviving if not one.authority]
    if not prior.authority:
        fitting = fitting if len(surviving) > 1 else list(surviving)
    if not fitting:
        raise UnusableMessage("PID-3 has no ID of the authority of MRG-1")
    typed = [one for one in fitting if one.type == prior.type] or fitting
    if len({one.id for one in typed}) > 1:
        raise UnusableMessage("PID-3 has several IDs that may take the place of MRG-1")
    return typed[0]


def _name(pid: Segment) -> str:
    """PID-5 as a person name (PS3.5 6.2.1); XPN has the suffix before the prefix, and a degree apart."""
    groups: dict[str, str] = {}
    for components in pid.repetitions(5):
        family, given, middle, suffix, prefix, degree, _, representation = (
            component(pid.separators, components, number) for number in range(1, 9)
        )
        parts = (family, given, middle, prefix, " ".join(filter(None, (suffix, degree))))
        if any(_NOT_IN_NAMES & set(part) for part in parts):
            raise UnusableMessage("PID-5 has ^ or = within a part of the name")
        if representation and representation not in _REPRESENTATIONS:
            raise UnusableMessage("PID-5 is in no known representation")
        groups.setdefault(representation or "A", "^".join(parts).rstrip("^"))
    return "=".join(groups.get(one, "") for one in _REPRESENTATIONS).rstrip("=")


def _birth_date(value: str) -> str:
    """The day of PID-7; empty where only a year or a month is known, which no DA can hold."""
    if value and not _DATE.fullmatch(value):
        raise UnusableMessage("PID-7 is no date")
    return value[:_DAY] if len(value) >= _DAY else ""


def _sex(value: str) -> str:
    try:
        return _SEXES[value.upper()]
    except KeyError:
        raise UnusableMessage("PID-8 is no known sex") from None
