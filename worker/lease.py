"""Keep a lease alive while its work goes on."""

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
    """Renews a lease from a thread of its own, until its time is up or ``renew`` says that it is lost."""

    def __init__(self, *, lease_s: float, limit_s: float) -> None:
        self._lease_s = lease_s
        self._limit_s = limit_s
        self._ends_at = time.monotonic() + limit_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def renew(self) -> bool:
        """Lengthen the lease; False where it is lost. Raises ``OperationalError`` while Postgres is away."""
        raise NotImplementedError

    def tell_end(self) -> None:
        """The time is up."""

    def lives(self) -> None:
        """The work goes on: its time begins anew."""
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
                self.tell_end()
                return
            try:
                if not self.renew():
                    return
            except OperationalError:
                continue  # the database is away for a moment; the lease decides


class LeaseKeeper(Heartbeat):
    """Keeps a lease, up to a total deadline per attempt.

    The deadline ends a hung attempt: renewal stops, the lease dies, and another worker takes over.
    """

    def __init__(self, engine: Engine, held: Lease, *, lease_s: float, deadline_s: float) -> None:
        super().__init__(lease_s=lease_s, limit_s=deadline_s)
        self._engine = engine
        self._held = held

    def renew(self) -> bool:
        with self._engine.begin() as connection:
            if leases.renew(connection, self._held, lease_s=self._lease_s):
                return True
            # A renewal that waited for the transaction that ends the work finds no lease either.
            if leases.is_lost(connection, self._held):
                log.warning("lease_lost", revision=self._held.revision_id)
        return False

    def tell_end(self) -> None:
        log.error("attempt_past_deadline", revision=self._held.revision_id)
