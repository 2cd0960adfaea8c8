"""A note of connections and associations that were refused, as JSON in the spool."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

from neurotriage.dicom.peer_text import AE_TITLE_LIMIT, peer_text

_HOST_LIMIT: Final = 64
_CAUSE_LIMIT: Final = 200
_MAX_REFUSALS: Final = 1000


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why whom was refused what. Every text is one bounded printable line where made by ``of``."""

    cause: str
    peer_host: str
    calling_ae_title: str = ""
    called_ae_title: str = ""

    @classmethod
    def of(cls, cause: object, peer_host: object, calling: object = "", called: object = "") -> Self:
        """Bound what a peer, or a damaged note, says."""
        return cls(
            peer_text(cause, _CAUSE_LIMIT),
            peer_text(peer_host, _HOST_LIMIT),
            peer_text(calling, AE_TITLE_LIMIT),
            peer_text(called, AE_TITLE_LIMIT),
        )


@dataclass(frozen=True, slots=True)
class RefusedAssociations:
    """How often each refusal came since the last note; at most 1000 of them."""

    times: Mapping[Refusal, int]

    @classmethod
    def from_json(cls, note: bytes) -> Self:
        """Read a note of ``to_json``. Raises ``ValueError`` where it is not one."""
        try:
            entries = json.loads(note)["refusals"]
            return cls({Refusal.of(*texts): max(1, int(times)) for *texts, times in entries[:_MAX_REFUSALS]})
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no note of refused associations: {type(error).__name__}") from error

    def to_json(self) -> bytes:
        entries = [
            [r.cause, r.peer_host, r.calling_ae_title, r.called_ae_title, times]
            for r, times in islice(self.times.items(), _MAX_REFUSALS)
        ]
        return json.dumps({"refusals": entries}).encode()
