"""Reports of the Storage Commitment Push Model SOP Class (PS3.4 annex J)."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from neurotriage.core.errors import Refused
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.headers import MALFORMED, first_line, text

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"


class FailureReason(IntEnum):
    """Failure Reason (0008,1197) of what is not committed (PS3.3 C.14.1.1); those that we give."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    DUPLICATE_TRANSACTION = 0x0131


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """The report on one transaction: SOP Instance UIDs committed, and failed with their FailureReason."""

    transaction_uid: str
    committed: tuple[str, ...]
    failed: tuple[tuple[str, int], ...]


def read_report(path: Path) -> CommitmentReport:
    """Read a spooled N-EVENT-REPORT. Raises ``Refused`` (NOT_DICOM) where it cannot be parsed."""
    try:
        dataset = pydicom.dcmread(path)
    except (InvalidDicomError, RecursionError, *MALFORMED) as error:
        raise Refused(ReasonCode.NOT_DICOM, f"the report cannot be parsed: {first_line(error)}") from error
    return report_of(dataset)


def report_of(information: Dataset) -> CommitmentReport:
    """The report in the Event Information of an N-EVENT-REPORT (PS3.4 table J.3-3).

    Raises ``Refused`` (NOT_DICOM) where it has no TransactionUID or cannot be parsed.
    """
    transaction_uid = text(information, "TransactionUID")
    if not transaction_uid:
        raise Refused(ReasonCode.NOT_DICOM, "the report names no transaction")
    try:
        return CommitmentReport(
            transaction_uid,
            tuple(_uid(item) for item in information.get("ReferencedSOPSequence") or ()),
            tuple(
                (_uid(item), int(item.get("FailureReason") or 0))
                for item in information.get("FailedSOPSequence") or ()
            ),
        )
    except MALFORMED as error:
        raise Refused(ReasonCode.NOT_DICOM, f"the report cannot be parsed: {first_line(error)}") from error


def _uid(item: Dataset) -> str:
    return text(item, "ReferencedSOPInstanceUID")
