"""Notes that a process may lose without harm."""

import structlog

from dicom_listener.spool.file_meta import AssociationInfo
from dicom_listener.spool.spool import Spool

log = structlog.get_logger()


def note_end(spool: Spool, association: AssociationInfo, *, released: bool) -> None:
    """``Spool.note_ended``, where a lost note costs its studies a wait for the quiet timer and no more."""
    try:
        spool.note_ended(association, released=released)
    except OSError as error:
        log.warning("end_of_association_not_noted", error=error.strerror)
