"""The spool: what was received, durable and whole, until it is recorded."""

from dicom_listener.spool.back_pressure import BackPressure
from dicom_listener.spool.commitments import COMMITMENT_LIMIT_BYTES, RequestedCommitment
from dicom_listener.spool.ended import EndedAssociation
from dicom_listener.spool.file_meta import (
    AssociationInfo,
    ReceivedInstance,
    read_received,
    reception_by_file,
)
from dicom_listener.spool.incoming import Incoming
from dicom_listener.spool.notes import note_end
from dicom_listener.spool.spool import Spool, open_spool
from dicom_listener.spool.spools import Spooled, Spools
from neurotriage.core.spool_files import written_at

__all__ = [
    "COMMITMENT_LIMIT_BYTES",
    "AssociationInfo",
    "BackPressure",
    "EndedAssociation",
    "Incoming",
    "ReceivedInstance",
    "RequestedCommitment",
    "Spool",
    "Spooled",
    "Spools",
    "note_end",
    "open_spool",
    "read_received",
    "reception_by_file",
    "written_at",
]
