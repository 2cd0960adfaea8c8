"""The kinds of alarm."""

from enum import StrEnum


class AlarmCode(StrEnum):
    """What somebody should look at; ``docs/admin.md`` says of each what to do."""

    UNKNOWN = "unknown"
    ROLE_ABSENT = "role_absent"
    PROCESS_GONE = "process_gone"
    QUEUE_OLD = "queue_old"
    STUDIES_FAILED = "studies_failed"
    SPOOL_OLD = "spool_old"
    DISK_SHORT = "disk_short"
    DISK_FILLING = "disk_filling"
    QUARANTINE_GROWING = "quarantine_growing"
    PEER_SILENT = "peer_silent"
    CERTIFICATE_ENDING = "certificate_ending"
    DELIVERY_WAITS = "delivery_waits"
    DELIVERY_UNPROVEN = "delivery_unproven"
    DELIVERY_ENDED = "delivery_ended"
    HELD_LONG = "held_long"
    PAUSED_LONG = "paused_long"
