"""A note of the presentation contexts rejected in one association (PS3.8 9.3.3.2), as JSON in the spool."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

from neurotriage.core.reception import Sender
from neurotriage.dicom.peer_text import AE_TITLE_LIMIT, UID_LIMIT, peer_text

# PS3.8 9.3.2.2: an association proposes at most 128 contexts.
_MAX_CONTEXTS: Final = 128
# Transfer syntaxes kept per SOP class: 1.3 kB at most, where Postgres indexes at most 2.7 kB.
_MAX_SYNTAXES: Final = 20
_HOST_LIMIT: Final = 64
# Far above any note of ours.
NOTE_LIMIT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RefusedContexts:
    """The peer and the contexts that it proposed. Every text is one bounded printable line."""

    peer: Sender
    contexts: tuple[tuple[str, tuple[str, ...]], ...]  # SOP class, transfer syntaxes

    @classmethod
    def of(cls, peer: Sender, contexts: Iterable[tuple[str, Sequence[str]]]) -> Self:
        """Bound and deduplicate the contexts (SOP class, transfer syntaxes) that a peer proposed."""
        bounded = [
            (_uid(sop_class), _syntaxes(syntaxes)) for sop_class, syntaxes in islice(contexts, _MAX_CONTEXTS)
        ]
        return cls(
            (peer_text(peer[0], AE_TITLE_LIMIT), peer_text(peer[1], _HOST_LIMIT)),
            tuple(dict.fromkeys(bounded)),
        )

    @classmethod
    def from_json(cls, note: bytes) -> Self:
        """Read a note of ``to_json``. Raises ``ValueError`` where it is not one."""
        try:
            document = json.loads(note)
            return cls.of(
                (document["peer_ae_title"], document["peer_host"]),
                [(sop_class, list(syntaxes)) for sop_class, syntaxes in document["contexts"]],
            )
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no note of refused contexts: {type(error).__name__}") from error

    def to_json(self) -> bytes:
        document = {
            "peer_ae_title": self.peer[0],
            "peer_host": self.peer[1],
            "contexts": [[sop_class, list(syntaxes)] for sop_class, syntaxes in self.contexts],
        }
        return json.dumps(document).encode()


def _uid(proposed: object) -> str:
    """The proposed UID; an invalid one as a single word of ASCII."""
    return peer_text(proposed, UID_LIMIT).encode("ascii", "replace").decode().replace(" ", "?")


def _syntaxes(proposed: Sequence[str]) -> tuple[str, ...]:
    kept = [_uid(syntax) for syntax in proposed[:_MAX_SYNTAXES]]
    more = len(proposed) - len(kept)
    return (*kept, f"(+{more})") if more > 0 else tuple(kept)
