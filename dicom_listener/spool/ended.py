"""A note of how an association ended, as JSON in the spool."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from dicom_listener.spool.file_meta import ASSOCIATION_LIMIT, HOST_LIMIT, AssociationInfo
from neurotriage.core.reception import Sender
from neurotriage.dicom.peer_text import AE_TITLE_LIMIT, peer_text


@dataclass(frozen=True, slots=True)
class EndedAssociation:
    """Our id of an association, its peer, and whether it was released. Texts are bounded and printable."""

    association_id: str
    peer: Sender
    released: bool  # by A-RELEASE (PS3.8 7.2), after which nothing of it is on its way
    ended_at: datetime

    @classmethod
    def of(cls, association: AssociationInfo, *, released: bool) -> Self:
        """The end of an association, now."""
        peer = association.calling_ae_title, association.peer_host
        return cls._bounded(association.association_id, peer, released, datetime.now(UTC))

    @classmethod
    def from_json(cls, note: bytes) -> Self:
        """Read a note of ``to_json``. Raises ``ValueError`` where it is not one."""
        try:
            document = json.loads(note)
            ended_at = datetime.fromisoformat(document["ended_at"])
            peer = str(document["peer_ae_title"]), str(document["peer_host"])
            released = document["released"] is True
            identity = str(document["association_id"])
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no note of an ended association: {type(error).__name__}") from error
        if ended_at.tzinfo is None:
            raise ValueError("no note of an ended association: no time zone")
        return cls._bounded(identity, peer, released, ended_at)

    @classmethod
    def _bounded(cls, identity: str, peer: Sender, released: bool, ended_at: datetime) -> Self:
        title, host = peer_text(peer[0], AE_TITLE_LIMIT), peer_text(peer[1], HOST_LIMIT)
        return cls(peer_text(identity, ASSOCIATION_LIMIT), (title, host), released, ended_at)

    def to_json(self) -> bytes:
        document = {
            "association_id": self.association_id,
            "peer_ae_title": self.peer[0],
            "peer_host": self.peer[1],
            "released": self.released,
            "ended_at": self.ended_at.isoformat(),
        }
        return json.dumps(document).encode()
