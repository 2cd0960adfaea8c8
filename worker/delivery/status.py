"""What the answer to a C-STORE means for a delivery (PS3.4 B.2.3, PS3.7 annex C)."""

from dataclasses import dataclass
from typing import Final

from neurotriage.core.states import DeliveryState


@dataclass(frozen=True, slots=True)
class StoreResult:
    """How a delivery goes on. ``WAITING`` means: another try later."""

    state: DeliveryState
    text: str
    # How often such an answer is believed to pass by itself; None: as long as tries are left.
    most_failures: int | None = None
    alarm: bool = False  # a person should look at once
    # The object may be there or not, whatever the state: a query tells.
    doubtful: bool = False
    found: bool = False  # a query found it
    # The destination's own words (ErrorComment). May quote a header: for the record, never for a log.
    comment: str = ""


_SUCCESS: Final = 0x0000
# Status classes (PS3.7 table C-1): these, and 0xBxxx, are warnings: the object was stored. Words by PS3.4
# table B.2-1 and PS3.7 C.4.
_WARNINGS: Final = {
    0x0001: "stored; an optional attribute is not supported there",
    0x0107: "stored; some elements were not recognised",
    0x0116: "stored; some values were out of range",
    0xB000: "stored; some elements were coerced",
    0xB006: "stored; some elements were discarded",
    0xB007: "stored; the data set did not match its SOP class",
}
# The UID is derived from the content, so a duplicate is this very object, sent before. 0xB00E (45070) is
# what Microsoft's DICOM service says of it as a FailureReason: "the DICOM instance already exists".
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
# Any other failure is the destination's, or because of this object. Three more tries tell.
PROCESSING_FAILURES: Final = 4


def verdict_of(status: int) -> StoreResult:
    """The verdict on a C-STORE status."""
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
    return StoreResult(DeliveryState.WAITING, text, most_failures=PROCESSING_FAILURES)


def is_warning(status: int) -> bool:
    """Whether a status is of the class Warning: stored, with something to tell."""
    return status in _WARNINGS or status & 0xF000 == 0xB000


def not_understood(status: int) -> bool:
    """Whether the data set could not be parsed there (0xCxxx); in another transfer syntax it may be."""
    return status & 0xF000 == 0xC000


def retry_delay_s(attempts: int, *, first_s: float, longest_s: float) -> float:
    """Doubling delay before the next try, after ``attempts`` tries (1-based)."""
    return float(min(longest_s, first_s * 2 ** min(max(attempts, 1) - 1, 30)))
