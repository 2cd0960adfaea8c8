"""States of studies, revisions and deliveries, as rows, messages and functions name them."""

from enum import StrEnum


class StudyState(StrEnum):
    """Whether instances may still come."""

    OPEN = "open"  # instances still arrive
    QUIET = "quiet"  # judged complete; a later instance opens it again


class RevisionState(StrEnum):
    """Progress of the analysis of a frozen study."""

    READY = "ready"  # waits for a worker
    ANALYSING = "analysing"  # a worker holds the lease
    ANALYSED = "analysed"
    UNCHANGED = "unchanged"  # the selected instances equal those last analysed
    FAILED = "failed"  # attempts used up
    CANCELLED = "cancelled"  # somebody said that it is not to be analysed
    WITHDRAWN = "withdrawn"  # its images are another patient's, or no longer the study's


class CommitmentState(StrEnum):
    """Progress of a storage commitment that a peer asked of us."""

    WAITING = "waiting"  # to be decided, or to be reported
    REPORTED = "reported"
    NOT_REPORTED = "not_reported"  # the peer could not be told; what was committed is kept all the same


class DeliveryState(StrEnum):
    """Progress of one object towards one destination."""

    HELD = "held"  # until somebody releases it
    WAITING = "waiting"
    SENDING = "sending"
    STORED = "stored"
    REFUSED = "refused"  # the destination will never take it
    GIVEN_UP = "given_up"  # cancelled, or too many tries


class SummaryState(StrEnum):
    """Progress of a text that a language model is to arrange."""

    WAITING = "waiting"
    ASKING = "asking"  # a worker holds the lease
    ACCEPTED = "accepted"  # every sentence is true: it stands
    REFUSED = "refused"  # the text of the template stays, for a reason
    LATE = "late"  # the same: nobody asked in time
    OVERTAKEN = "overtaken"  # another analysis of the study took the place
