"""The circumstances in which an instance was received."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

Sender = tuple[str, str]  # calling AE title, address
# Stands as the sender of what ``neurotriage import`` takes.
IMPORT_AE_TITLE: Final = "IMPORT"


@dataclass(frozen=True, slots=True)
class Reception:
    """Who sent an instance, when, its size, the SOP Instance UID in the command, and its digest."""

    peer_ae_title: str
    peer_host: str
    received_at: datetime
    size_bytes: int
    affected_sop_instance_uid: str = ""  # of the C-STORE-RQ (PS3.7 9.1.1.1); empty if unknown
    association_id: str = ""  # ours, of the association on which it came; empty if unknown
    called_ae_title: str = ""  # ours; empty if unknown
    digest: str = ""  # SHA-256 (hex) of its data set as it was written; empty if unknown

    @property
    def peer(self) -> Sender:
        return self.peer_ae_title, self.peer_host
