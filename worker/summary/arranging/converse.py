"""The whole conversation about one study: ask, check, have it mended once, or leave the template's text."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from neurotriage.core.summary import Language, Origin, Summary
from worker.provider.faults import PASSING, ProviderError, ProviderFault
from worker.summary.arranging.answer import proposals
from worker.summary.arranging.request import Message, answer_schema, messages, repair
from worker.summary.facts import Facts
from worker.summary.verify import Proposal, Refusal, verify

# Asks once within a limit in seconds, and returns the model's words. Raises ``ProviderError``.
Ask = Callable[[Sequence[Message], dict[str, Any], float], str]

_BACK_OFF_S: Final = 1.0
_TEXTS: Final = 2  # the first, and one that is mended


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, and what came of it. Kept with the study: it holds facts and text, no word of a header."""

    asked_at: datetime
    took_s: float
    request: tuple[Message, ...]
    answer: str | None = None
    fault: ProviderFault | None = None
    detail: str = ""
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """``summary``: the accepted text, or None with the reason for which that of the template stays."""

    summary: Summary | None
    reason: str
    exchanges: tuple[Exchange, ...] = ()


def converse(
    facts: Facts,
    language: Language,
    ask: Ask,
    *,
    author: str,
    plain: bool = False,
    wait_s: float,
    request_s: float,
    retries: int,
    sleep: Callable[[float], None] = time.sleep,
) -> Conversation:
    """Have a language model arrange the text on a study; whatever it says beyond the facts is refused.

    ``wait_s``: the limit of the whole; ``request_s``: of a single request; ``retries``: of a request that met
    a passing fault. Never raises for what a provider does.
    """
    talk = _Talk(ask, sleep, time.monotonic() + wait_s, request_s, retries)
    asked = messages(facts, language, plain=plain)
    schema = answer_schema(facts, plain=plain)
    for _ in range(_TEXTS):
        try:
            answer = talk.answer_to(asked, schema)
            verdict = verify(facts, language, talk.read(answer), plain=plain)
        except ProviderError as error:
            return Conversation(None, f"{error.fault.value}: {error.text}", tuple(talk.exchanges))
        talk.note(refusals=verdict.refusals)
        if verdict.accepted:
            text = Summary(language, Origin.MODEL, verdict.sentences, author, facts.opinion)
            return Conversation(text, "", tuple(talk.exchanges))
        asked = repair(asked, answer, verdict.refusals)
    first = talk.exchanges[-1].refusals[0]
    return Conversation(None, f"refused: {first.fault.value}: {first.detail}", tuple(talk.exchanges))


@dataclass(slots=True)
class _Talk:
    """The requests of one conversation, with what is left of its time."""

    ask: Ask
    sleep: Callable[[float], None]
    ends_at_s: float  # by the monotonic clock
    request_s: float
    retries: int
    exchanges: list[Exchange] = field(default_factory=list)

    def answer_to(self, asked: tuple[Message, ...], schema: dict[str, Any]) -> str:
        """Ask until there is an answer, a fault that stays, no further try or no time. Raises that fault."""
        tried = 0
        while True:
            if self._left_s() <= 0:
                raise ProviderError(ProviderFault.TOO_SLOW, "no request could be made in time")
            try:
                return self._once(asked, schema)
            except ProviderError as error:
                wait_s = max(_BACK_OFF_S * 2**tried, error.retry_after_s or 0.0)
                if error.fault not in PASSING or tried == self.retries or wait_s >= self._left_s():
                    raise
                self.sleep(wait_s)
            tried += 1

    def read(self, answer: str) -> tuple[Proposal, ...]:
        """The sentences of the last answer. Raises ``ProviderError`` where it holds none."""
        try:
            return proposals(answer)
        except ProviderError as error:
            self.note(fault=error.fault, detail=error.text)
            raise

    def note(self, **changes: Any) -> None:
        """Add what came of the last exchange."""
        self.exchanges[-1] = replace(self.exchanges[-1], **changes)

    def _once(self, asked: tuple[Message, ...], schema: dict[str, Any]) -> str:
        began_s, asked_at = time.monotonic(), datetime.now(UTC)
        answer, fault, detail = None, None, ""
        try:
            answer = self.ask(asked, schema, min(self.request_s, self._left_s()))
        except ProviderError as error:
            fault, detail = error.fault, error.text
            raise
        finally:
            took_s = time.monotonic() - began_s
            self.exchanges.append(Exchange(asked_at, took_s, asked, answer, fault, detail))
        return answer

    def _left_s(self) -> float:
        return self.ends_at_s - time.monotonic()
