"""Keep a claim alive while its work goes on."""

import threading
import time
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from db import claims
from db.claims import Claim

log = structlog.get_logger()

# Three renewals may fail before the lease ends.
_RENEWALS_PER_LEASE = 4


class LeaseKeeper:
    """Renews a claim from a thread of its own, up to a total deadline per attempt.

    The deadline ends a hung attempt: renewal stops, the lease dies, and another worker takes over.
    """

    def __init__(self, engine: Engine, held: Claim, *, lease_s: float, deadline_s: float) -> None:
        self._engine = engine
        self._held = held
        self._lease_s = lease_s
        self._ends_at = time.monotonic() + deadline_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

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
                log.error("attempt_past_deadline", revision=self._held.revision_id)
                return
            try:
                with self._engine.begin() as connection:
                    if claims.renew(connection, self._held, lease_s=self._lease_s):
                        continue
                    # A renewal that waited for the transaction that ends the work finds no lease either.
                    lost = claims.is_lost(connection, self._held)
            except OperationalError:
                continue  # the database is away for a moment; the lease decides
            if lost:
                log.warning("lease_lost", revision=self._held.revision_id)
            return
