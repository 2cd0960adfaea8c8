"""Turns at a provider: no more requests than are allowed, and none while it fails."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from db import summary_requests
from db.summary_requests import Purpose
from neurotriage.core.settings import SummarySettings
from worker.provider import ProviderError, ProviderFault


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns of one study, kept in the database so that all workers share one rate and one pause."""

    engine: Engine
    request_id: int
    limits: SummarySettings

    def take(self, purpose: Purpose, within_s: float) -> int:
        """Wait for a turn; its id. Raises ``ProviderError`` where there is none within this many seconds."""
        ends_at_s = time.monotonic() + within_s
        while True:
            with self.engine.begin() as connection:
                turn = summary_requests.take_turn(
                    connection,
                    self.request_id,
                    purpose,
                    per_minute=self.limits.requests_per_minute,
                    failures=self.limits.failures_to_pause,
                    pause_s=self.limits.pause_s,
                )
            if turn.exchange_id is not None:
                return turn.exchange_id
            if turn.paused:
                raise ProviderError(
                    ProviderFault.PAUSED, "it failed several times in a row and is left alone"
                )
            if time.monotonic() + turn.wait_s >= ends_at_s:
                raise ProviderError(ProviderFault.NO_TURN, "as many requests as are allowed were made")
            time.sleep(turn.wait_s)

    def record(
        self,
        turn: int,
        took_s: float,
        request: Sequence[dict[str, Any]],
        answer: str | None,
        fault: str | None,
        detail: str = "",
        refusals: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Keep what came of a turn."""
        with self.engine.begin() as connection:
            summary_requests.record_exchange(
                connection,
                turn,
                took_s=took_s,
                request=request,
                answer=answer,
                fault=fault,
                detail=detail,
                refusals=refusals,
            )
