"""C-STORE response statuses as delivery states (PS3.4 B.2.3, PS3.7 annex C)."""

from dataclasses import dataclass
from typing import Final

from neurotriage.core.states import DeliveryState


@dataclass(frozen=True, slots=True)
class StoreResult:
    """The next state of a delivery and the sentence for its record. ``WAITING``: retried later."""

    state: DeliveryState
    text: str
    # After so many failures of this kind the delivery is given up; None: only ``max_attempts`` counts.
    max_failures: int | None = None
    alarm: bool = False  # a person has to act
    doubtful: bool = False  # the destination may or may not have the object: a query decides
    found_by_query: bool = False
    # ErrorComment of the destination. It may quote patient data: for the record, never for a log.
    comment: str = ""


_SUCCESS: Final = 0x0000
# Warnings (PS3.7 table C-1), besides all of 0xBxxx: the object was stored. Meanings: PS3.4 table B.2-1 and
# PS3.7 C.4.
_WARNINGS: Final = {
    0x0001: "stored; an optional attribute is not supported there",
    0x0107: "stored; some elements were not recognised",
    0x0116: "stored; some values were out of range",
    0xB000: "stored; some elements were coerced",
    0xB006: "stored; some elements were discarded",
    0xB007: "stored; the data set did not match its SOP class",
}
# The UID is derived from the content, so a duplicate is this very object, sent before. Microsoft's DICOM
# service gives 0xB00E (45070) as the FailureReason: "the DICOM instance already exists".
_DUPLICATE: Final = 0x0111
ALREADY_EXISTS: Final = 0xB00E
_PERMANENT: Final = {
    0x0117: "invalid object instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised: the destination does not allow this AE title to store",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
}
_RESOURCE_LIMITATION: Final = 0x0213
# Any other failure may be temporary or caused by the object itself: it gets three more tries.
PROCESSING_FAILURES: Final = 4


def store_result(status: int) -> StoreResult:
    """The result of a C-STORE response status, given without its ErrorComment."""
    number = f"(0x{status:04X})"
    if status == _SUCCESS:
        return StoreResult(DeliveryState.STORED, "stored")
    if status in (_DUPLICATE, ALREADY_EXISTS):
        return StoreResult(DeliveryState.STORED, f"the destination already has it {number}")
    if is_warning(status):
        words = _WARNINGS.get(status, "stored with a warning")
        return StoreResult(DeliveryState.STORED, f"{words} {number}")
    if status in _PERMANENT:
        return StoreResult(DeliveryState.REFUSED, f"refused: {_PERMANENT[status]} {number}")
    if status & 0xFF00 == 0xA900:
        return StoreResult(
            DeliveryState.REFUSED, f"refused: the data set does not match its SOP class {number}"
        )
    if not_understood(status):
        return StoreResult(DeliveryState.REFUSED, f"refused: the destination cannot understand it {number}")
    if status & 0xFF00 == 0xA700 or status == _RESOURCE_LIMITATION:
        return StoreResult(DeliveryState.WAITING, f"the destination is out of resources {number}")
    text = f"the destination reports a failure {number}"
    return StoreResult(DeliveryState.WAITING, text, max_failures=PROCESSING_FAILURES)


def is_warning(status: int) -> bool:
    """Whether a status is of the class Warning (PS3.7 annex C): the object was stored."""
    return status in _WARNINGS or status & 0xF000 == 0xB000


def not_understood(status: int) -> bool:
    """Whether a status is "Cannot understand" (0xCxxx); another transfer syntax may be understood."""
    return status & 0xF000 == 0xC000
