"""States that rows, messages and pure functions name alike."""

from enum import StrEnum


class StudyState(StrEnum):
    """Whether instances may still come."""

    OPEN = "open"  # instances still arrive
    QUIET = "quiet"  # judged complete; a later instance opens it again


class RevisionState(StrEnum):
    """Where the analysis of a frozen study has got to."""

    READY = "ready"  # waits for a worker
    ANALYSING = "analysing"  # a worker holds the lease
    ANALYSED = "analysed"
    UNCHANGED = "unchanged"  # the selected instances equal those last analysed
    FAILED = "failed"  # attempts used up


class DeliveryState(StrEnum):
    """Where an object has got to on its way to one destination."""

    WAITING = "waiting"
    SENDING = "sending"
    STORED = "stored"
    REFUSED = "refused"  # the destination will never take it
    GIVEN_UP = "given_up"  # cancelled, or too many tries
