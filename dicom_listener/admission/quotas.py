"""How much each peer has sent today, kept over restarts in one small file."""

import json
import math
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import structlog

from neurotriage.core.settings import Peer
from neurotriage.core.storage import write_durably

log = structlog.get_logger()


class Quotas:
    """Bytes by peer and day (UTC). Not thread-safe. A file that cannot be read counts from nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._day = _today()
        self._sent: Counter[str] = Counter()
        self._changed = False
        self._load()

    def add(self, peer: Peer, size_bytes: int) -> None:
        """Count what a peer has sent, where it has a quota."""
        if peer.max_bytes_per_day is None:
            return
        self._turn()
        self._sent[_name(peer)] += size_bytes
        self._changed = True

    def is_exceeded(self, peer: Peer) -> bool:
        """Whether a peer has sent what it may send today."""
        self._turn()
        return peer.max_bytes_per_day is not None and self._sent[_name(peer)] >= peer.max_bytes_per_day

    def unsaved(self) -> bytes | None:
        """What is to be saved; None where nothing has changed."""
        if not self._changed:
            return None
        self._changed = False
        return json.dumps({"day": self._day.isoformat(), "sent_bytes": dict(self._sent)}).encode()

    def save(self, document: bytes) -> None:
        """Write the file; an error is logged, and the count goes on in memory. Thread-safe."""
        try:
            write_durably(self._path, document)
        except OSError as error:
            log.warning("quotas_not_saved", error=error.strerror)

    def _turn(self) -> None:
        if self._day != _today():
            self._day, self._sent = _today(), Counter()

    def _load(self) -> None:
        try:
            document = json.loads(self._path.read_bytes())
            if date.fromisoformat(document["day"]) == self._day:
                self._sent.update({str(k): int(v) for k, v in document["sent_bytes"].items()})
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            log.warning("quotas_unreadable", path=str(self._path))


def _name(peer: Peer) -> str:
    return "/".join((peer.ae_title, peer.host, peer.certificate_sha256, peer.certificate_subject))


def until_tomorrow_s() -> int:
    """Seconds until the quotas begin anew."""
    now = datetime.now(UTC)
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return math.ceil((tomorrow - now).total_seconds())


def _today() -> date:
    return datetime.now(UTC).date()
