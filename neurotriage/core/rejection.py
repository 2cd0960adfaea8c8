"""Rejection notes of others (IHE IOCM, RAD TF-3 4.66)."""

from dataclasses import dataclass
from enum import StrEnum


class RejectionTitle(StrEnum):
    """Document titles of rejection notes (PS3.16 CID 7010), by Code Value of the scheme DCM."""

    QUALITY = "113001"
    PATIENT_SAFETY = "113037"
    WORKLIST = "113038"  # incorrect modality worklist entry
    RETENTION = "113039"  # the images were deleted because of their age; nothing was wrong with them

    @property
    def withdraws(self) -> bool:
        """Whether the images, and what was said of them, no longer hold."""
        return self is not RejectionTitle.RETENTION


@dataclass(frozen=True, slots=True)
class RejectionNote:
    """Which instances a note rejects, and why."""

    title: RejectionTitle
    instances: tuple[tuple[str, str], ...]  # Study Instance UID, SOP Instance UID
