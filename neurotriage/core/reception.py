"""How an instance came to us."""

from dataclasses import dataclass
from datetime import datetime

Sender = tuple[str, str]  # calling AE title, address


@dataclass(frozen=True, slots=True)
class Reception:
    """How an instance came: who sent it, when, how large it was, and what its sender called it."""

    peer_ae_title: str
    peer_host: str
    received_at: datetime
    size_bytes: int
    affected_sop_instance_uid: str = ""  # of the C-STORE-RQ (PS3.7 9.1.1.1); empty where not known

    @property
    def peer(self) -> Sender:
        return self.peer_ae_title, self.peer_host
