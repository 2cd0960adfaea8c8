"""What the answer to a C-STORE means for a delivery (PS3.4 B.2.3, PS3.7 annex C)."""

from dataclasses import dataclass
from typing import Final

from db.tables import DeliveryState


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a delivery goes on. ``WAITING`` means: another try later."""

    state: DeliveryState
    text: str
    # How often such an answer is believed to pass by itself; None: as long as tries are left.
    most_failures: int | None = None
    alarm: bool = False  # a person should look at once


_SUCCESS: Final = 0x0000
_WARNINGS: Final = {
    0xB000: "stored; some elements were coerced",
    0xB006: "stored; some elements were discarded",
    0xB007: "stored; the data set did not match its SOP class",
}
_PERMANENT: Final = {
    0x0117: "invalid object instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised: the destination does not allow this AE title to store",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
}
# Processing failure: of the destination, or because of this object. Three more tries tell.
_PROCESSING_FAILURE: Final = 0x0110
PROCESSING_FAILURES: Final = 4


def verdict_of(status: int | None) -> Verdict:
    """The verdict on a C-STORE status; None where no answer came."""
    if status is None:
        return Verdict(DeliveryState.WAITING, "no answer: the connection was lost or timed out")
    if status == _SUCCESS:
        return Verdict(DeliveryState.STORED, "stored")
    if status in _WARNINGS:
        return Verdict(DeliveryState.STORED, f"{_WARNINGS[status]} (0x{status:04X})")
    # The UID is derived from the content, so a duplicate is this very object, sent before a crash.
    if status == 0x0111:
        return Verdict(DeliveryState.STORED, "the destination already has it (0x0111)")
    if status in _PERMANENT:
        return Verdict(DeliveryState.REFUSED, f"refused: {_PERMANENT[status]} (0x{status:04X})")
    if status & 0xFF00 == 0xA900:
        return Verdict(
            DeliveryState.REFUSED, f"refused: the data set does not match its SOP class (0x{status:04X})"
        )
    if not_understood(status):
        return Verdict(
            DeliveryState.REFUSED, f"refused: the destination cannot understand it (0x{status:04X})"
        )
    if status & 0xFF00 == 0xA700:
        return Verdict(DeliveryState.WAITING, f"the destination is out of resources (0x{status:04X})")
    text = f"the destination reports a failure (0x{status:04X})"
    if status == _PROCESSING_FAILURE:
        return Verdict(DeliveryState.WAITING, text, most_failures=PROCESSING_FAILURES)
    return Verdict(DeliveryState.WAITING, text)


def not_understood(status: int | None) -> bool:
    """Whether the data set could not be parsed there (0xCxxx); in another transfer syntax it may be."""
    return status is not None and status & 0xF000 == 0xC000


def retry_delay_s(attempts: int, *, first_s: float, longest_s: float) -> float:
    """Doubling delay before the next try, after ``attempts`` tries (1-based)."""
    return float(min(longest_s, first_s * 2 ** min(max(attempts, 1) - 1, 30)))
