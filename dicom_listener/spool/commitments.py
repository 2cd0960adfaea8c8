"""A note of a request for storage commitment that was answered with success, as JSON in the spool."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from dicom_listener.spool.file_meta import AssociationInfo
from neurotriage.dicom.commitment_request import MAX_REFERENCES, CommitmentRequest
from neurotriage.dicom.peer_text import AE_TITLE_LIMIT, UID_LIMIT, peer_text

# Above the longest name of a host.
_HOST_LIMIT: Final = 255
# Above any note of ours: a reference takes at most 140 bytes of it.
COMMITMENT_LIMIT_BYTES: Final = 2 << 20


@dataclass(frozen=True, slots=True)
class RequestedCommitment:
    """A request, who made it of which AE title of ours, and the host that is to hear what became of it."""

    request: CommitmentRequest
    peer_ae_title: str
    called_ae_title: str
    report_host: str
    requested_at: datetime

    @classmethod
    def of(cls, parties: AssociationInfo, report_host: str, request: CommitmentRequest) -> Self:
        """A request that is made now."""
        calling = peer_text(parties.calling_ae_title, AE_TITLE_LIMIT)
        called = peer_text(parties.called_ae_title, AE_TITLE_LIMIT)
        return cls(request, calling, called, report_host, datetime.now(UTC))

    @classmethod
    def from_json(cls, note: bytes) -> Self:
        """Read a note of ``to_json``. Raises ``ValueError`` where it is not one."""
        try:
            document = json.loads(note)
            references = tuple(
                (peer_text(sop_class, UID_LIMIT), peer_text(instance, UID_LIMIT))
                for sop_class, instance in document["references"]
            )
            calling = peer_text(document["peer_ae_title"], AE_TITLE_LIMIT)
            called = peer_text(document["called_ae_title"], AE_TITLE_LIMIT)
            host = peer_text(document["report_host"], _HOST_LIMIT)
            requested_at = datetime.fromisoformat(document["requested_at"])
            transaction_uid = peer_text(document["transaction_uid"], UID_LIMIT)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no note of a storage commitment: {type(error).__name__}") from error
        if requested_at.tzinfo is None or not 0 < len(references) <= MAX_REFERENCES:
            raise ValueError("no note of a storage commitment: no time zone, or no number of references")
        return cls(CommitmentRequest(transaction_uid, references), calling, called, host, requested_at)

    def to_json(self) -> bytes:
        document = {
            "transaction_uid": self.request.transaction_uid,
            "references": self.request.references,
            "peer_ae_title": self.peer_ae_title,
            "called_ae_title": self.called_ae_title,
            "report_host": self.report_host,
            "requested_at": self.requested_at.isoformat(),
        }
        return json.dumps(document, separators=(",", ":")).encode()
