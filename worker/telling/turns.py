"""Turns at a provider: no more requests than are allowed, none while it fails, and each of them on record."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Engine

from db import summary_requests
from db.summary_requests import Purpose
from neurotriage.core.settings import SummarySettings
from worker.provider import ProviderError, ProviderFault
from worker.summary import Refusal

Messages = Sequence[Mapping[str, Any]]
# Asks once within a limit in seconds, and returns the words. Raises ``ProviderError``.
Ask = Callable[[Messages, dict[str, Any], float], str]


@dataclass(slots=True)
class Turns:
    """The requests about one study for one purpose, by rows that all workers share.

    ``recorded``: what is kept of the messages.
    """

    engine: Engine
    request_id: int
    purpose: Purpose
    limits: SummarySettings
    ask: Ask
    recorded: Callable[[Messages], list[dict[str, Any]]] = lambda messages: [dict(m) for m in messages]
    taken: list[int] = field(default_factory=list)  # the rows of the requests that were made

    def __call__(self, messages: Messages, schema: dict[str, Any], limit_s: float) -> str:
        """Wait for a turn and ask, both within the limit. Raises ``ProviderError``."""
        ends_at_s = time.monotonic() + limit_s
        turn = self._take(messages, ends_at_s)
        self.taken.append(turn)
        began_s = time.monotonic()
        answer: str | None = None
        fault, detail = None, ""
        try:
            answer = self.ask(messages, schema, ends_at_s - began_s)
        except ProviderError as error:
            fault, detail = error.fault, error.text
            raise
        finally:
            took_s = time.monotonic() - began_s
            with self.engine.begin() as connection:
                summary_requests.end_turn(
                    connection, turn, took_s=took_s, answer=answer, fault=fault, detail=detail
                )
        return answer

    def refuse(
        self, turn: int, refusals: Sequence[Refusal] = (), fault: str | None = None, detail: str = ""
    ) -> None:
        """Keep what was wrong with the answer of a turn."""
        with self.engine.begin() as connection:
            kept = [asdict(refusal) for refusal in refusals]
            summary_requests.refuse(connection, turn, kept, fault, detail)

    def _take(self, messages: Messages, ends_at_s: float) -> int:
        while True:
            with self.engine.begin() as connection:
                turn = summary_requests.take_turn(
                    connection,
                    self.request_id,
                    self.purpose,
                    self.recorded(messages),
                    per_minute=self.limits.requests_per_minute,
                    failures=self.limits.failures_to_pause,
                    pause_s=self.limits.pause_s,
                )
            if turn.exchange_id is not None:
                return turn.exchange_id
            if turn.paused:
                raise ProviderError(ProviderFault.PAUSED, "it failed several times and is left alone")
            if time.monotonic() + turn.wait_s >= ends_at_s:
                raise ProviderError(ProviderFault.NO_TURN, "as many requests as are allowed were made")
            time.sleep(turn.wait_s)
