"""Renews a lease while work continues."""

import threading
import time
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from db.studies import leases
from db.studies.leases import Lease

log = structlog.get_logger()

# Three renewals may fail before the lease ends.
_RENEWALS_PER_LEASE = 4


class Heartbeat:
    """Renews a lease of ``lease_s`` in its own thread, until ``limit_s`` have passed or the lease is lost.

    Used as a context manager; subclasses implement ``renew``.
    """

    def __init__(self, *, lease_s: float, limit_s: float) -> None:
        self._lease_s = lease_s
        self._limit_s = limit_s
        self._ends_at = time.monotonic() + limit_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def renew(self) -> bool:
        """Extend the lease; False where it is lost. Raises ``OperationalError`` while Postgres is away."""
        raise NotImplementedError

    def on_deadline(self) -> None:
        """Called once when ``limit_s`` have passed, in the thread that renews."""

    def restart_deadline(self) -> None:
        """Start ``limit_s`` anew, because work makes progress."""
        self._ends_at = time.monotonic() + self._limit_s

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=self._lease_s)

    def _run(self) -> None:
        while not self._stop.wait(self._lease_s / _RENEWALS_PER_LEASE):
            if time.monotonic() > self._ends_at:
                self.on_deadline()
                return
            try:
                if not self.renew():
                    return
            except OperationalError:
                continue  # the database is away; the lease may outlast that


class LeaseKeeper(Heartbeat):
    """Renews the lease of a revision, for ``deadline_s`` per attempt at most.

    The deadline ends an attempt that hangs: renewal stops, the lease expires, and another worker takes over.
    """

    def __init__(self, engine: Engine, held: Lease, *, lease_s: float, deadline_s: float) -> None:
        super().__init__(lease_s=lease_s, limit_s=deadline_s)
        self._engine = engine
        self._held = held

    def renew(self) -> bool:
        with self._engine.begin() as connection:
            if leases.renew(connection, self._held, lease_s=self._lease_s):
                return True
            # Nor does a renewal find the lease that waited for the transaction which finishes the work.
            if leases.is_lost(connection, self._held):
                log.warning("lease_lost", revision=self._held.revision_id)
        return False

    def on_deadline(self) -> None:
        log.error("attempt_past_deadline", revision=self._held.revision_id)
