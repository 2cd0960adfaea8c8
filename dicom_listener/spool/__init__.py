"""The spool: what was received, durable and whole, until it is recorded."""

from dicom_listener.spool.ended import EndedAssociation
from dicom_listener.spool.file_meta import (
    AssociationInfo,
    ReceivedInstance,
    read_received,
    reception_by_file,
)
from dicom_listener.spool.incoming import Incoming
from dicom_listener.spool.spool import Spool, written_at

__all__ = [
    "AssociationInfo",
    "EndedAssociation",
    "Incoming",
    "ReceivedInstance",
    "Spool",
    "read_received",
    "reception_by_file",
    "written_at",
]
