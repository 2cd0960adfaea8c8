"""Negotiation and status codes, read from the tables that the code itself uses."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext

from dicom_listener.admission import peers
from dicom_listener.admission.peers import Rejection
from dicom_listener.association.services import (
    CANNOT_UNDERSTAND,
    INVALID_ARGUMENT,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SUCCESS,
    UNRECOGNIZED_OPERATION,
)
from neurotriage.core.states import DeliveryState
from neurotriage.dicom import commitment_request
from neurotriage.dicom.commitment import PUSH_MODEL
from worker.delivery.status import StoreResult, store_result

_STATUSES: Final = 0x10000
_CODE: Final = re.compile(r" ?\(0x[0-9A-F]{4}\)")
# PS3.8 table 9-21.
_RESULTS: Final = {1: "rejected-permanent", 2: "rejected-transient"}
_SOURCES: Final = {1: "service-user", 2: "service-provider (ACSE)", 3: "service-provider (presentation)"}

# What we answer to a C-STORE; the numbers are the listener's own.
ANSWERS: Final = (
    (SUCCESS, "Success", "the instance is durable on disk, as it was sent"),
    (
        OUT_OF_RESOURCES,
        "Failure: out of resources",
        "too little room, or the disk reports an error; send again",
    ),
    (
        CANNOT_UNDERSTAND,
        "Failure: cannot understand",
        "a UID is not made of 1 to 64 digits and dots, or the data set is empty",
    ),
)
# The same to an N-EVENT-REPORT.
REPORT_ANSWERS: Final = (
    (SUCCESS, "Success", "the report is durable on disk; it is read later"),
    (PROCESSING_FAILURE, "Failure: processing failure", "the disk reports an error"),
    (INVALID_ARGUMENT, "Failure: invalid argument value", "there is no event information"),
)
# The same to an N-ACTION.
ACTION_ANSWERS: Final = (
    (SUCCESS, "Success", "the request is durable on disk; it is decided and reported later"),
    (
        commitment_request.PROCESSING_FAILURE,
        "Failure: processing failure",
        "the disk reports an error",
    ),
    (
        commitment_request.NO_SUCH_SOP_INSTANCE,
        "Failure: no such SOP instance",
        "not the well-known SOP instance",
    ),
    (
        commitment_request.INVALID_ARGUMENT,
        "Failure: invalid argument value",
        "no Transaction UID, no reference, or one without its UIDs",
    ),
    (commitment_request.NO_SUCH_SOP_CLASS, "Failure: no such SOP class", "not that of the context"),
    (commitment_request.NO_SUCH_ACTION, "Failure: no such action", "an action type other than 1"),
    (
        commitment_request.NOT_AUTHORIZED,
        "Failure: not authorized",
        "the peer has no address in section 6.5 to which to report",
    ),
    (UNRECOGNIZED_OPERATION, "Failure: unrecognized operation", "we are not SCP (section 5.3.1)"),
    (
        commitment_request.RESOURCE_LIMITATION,
        "Failure: resource limitation",
        f"more than {commitment_request.MAX_REFERENCES} references or "
        f"{commitment_request.MAX_REQUEST_BYTES} bytes, too little room, or too many requests wait",
    ),
)
FATES: Final = {
    DeliveryState.STORED: "done",
    DeliveryState.WAITING: "tried again later",
    DeliveryState.REFUSED: "not tried again",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """SOP classes that share their transfer syntaxes."""

    abstract_syntaxes: tuple[UID, ...]
    transfer_syntaxes: tuple[UID, ...]


def offers(contexts: Iterable[PresentationContext]) -> list[Offer]:
    """The presentation contexts grouped by their transfer syntaxes, in their order."""
    by_syntaxes: dict[tuple[UID, ...], list[UID]] = {}
    for context in contexts:
        syntaxes = tuple(UID(syntax) for syntax in context.transfer_syntax)
        by_syntaxes.setdefault(syntaxes, []).append(UID(str(context.abstract_syntax)))
    return [Offer(tuple(classes), syntaxes) for syntaxes, classes in by_syntaxes.items()]


def rejections() -> list[tuple[str, str, int, str]]:
    """Result, source, diagnostic and reason of each A-ASSOCIATE-RJ that the listener sends."""
    known = [value for value in vars(peers).values() if isinstance(value, Rejection)]
    return [(_RESULTS[r.result], _SOURCES[r.source], r.diagnostic, r.why) for r in known]


def store_statuses() -> list[tuple[str, str, str]]:
    """Every C-STORE status that we distinguish: its range, its meaning, and what follows."""
    usual = _verdict(_STATUSES - 1)
    rows = [
        (_ranged(list(run)), verdict.text, FATES[verdict.state])
        for verdict, run in groupby(range(_STATUSES), key=_verdict)
        if verdict != usual
    ]
    return [*rows, ("any other", usual.text, FATES[usual.state])]


def _verdict(status: int) -> StoreResult:
    result = store_result(status)
    return StoreResult(result.state, _CODE.sub("", result.text))


def _ranged(statuses: Sequence[int]) -> str:
    first, last = statuses[0], statuses[-1]
    return f"0x{first:04X}" if first == last else f"0x{first:04X}-0x{last:04X}"


def is_commitment(uid: UID) -> bool:
    """True of storage commitment, whose reports come to the listener where an archive provides it."""
    return str(uid) == PUSH_MODEL
