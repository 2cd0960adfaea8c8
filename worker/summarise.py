"""The text of one study with the help of others: a second opinion, and a language model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from time import monotonic
from typing import Any, Final

import structlog
from sqlalchemy import Engine

from db import summary_requests
from db.studies import analyses, summaries
from db.studies.analyses import StandingAnalysis
from db.studies.manifest import read_manifest
from db.studies.summaries import KeptSummary
from db.summary_requests import HeldRequest, Purpose
from neurotriage.core.evidence import Evidence
from neurotriage.core.second_opinion import Opinion
from neurotriage.core.settings import Settings
from neurotriage.core.states import SummaryState
from neurotriage.core.storage import Storage
from worker.provider import OPINION_KEY_VARIABLE, ProviderError, ask, read_key
from worker.retell import retell
from worker.second_opinion import Withheld, seek, without_pictures
from worker.summary import Facts, Told, facts_from, template
from worker.summary.arranging import Conversation, Exchange, converse
from worker.turns import Turns

log = structlog.get_logger()

_LEASE_BEYOND_S: Final = 60.0  # for the objects that are made of an accepted text
_OVERTAKEN: Final = "another analysis of the study took the place"


@dataclass(frozen=True, slots=True)
class _Study:
    """What is known of a study about which others are asked."""

    held: HeldRequest
    kept: KeptSummary
    standing: StandingAnalysis
    ends_at_s: float  # by the monotonic clock


def summarise(engine: Engine, settings: Settings, *, owner: str) -> tuple[str, ...]:
    """Ask about the study that waits longest; the names of the destinations that get its text.

    Whatever a provider does, it ends within ``[summary] wait_s`` of the study's analysis, and the text of the
    template stays unless every sentence was accepted. Raises ``DBAPIError`` while Postgres is away and
    ``OSError`` where the storage fails: the lease runs out, and another attempt follows.
    """
    limits = settings.summary
    with engine.begin() as connection:
        held = summary_requests.claim_next(
            connection,
            owner=owner,
            wait_s=limits.wait_s,
            lease_s=limits.wait_s + _LEASE_BEYOND_S,
            attempts=settings.worker.max_attempts,
        )
        if held is None:
            return ()
        kept = summaries.newest(connection, held.analysis_id)
        standing = analyses.standing(connection, held.study_id)
    if kept is None or standing is None or standing.id != held.analysis_id:
        _end(engine, held, SummaryState.OVERTAKEN, _OVERTAKEN)
        return ()
    study = _Study(held, kept, standing, monotonic() + held.left_s)
    facts = facts_from(kept.facts)
    opinion, opinion_reason = _opinion(engine, settings, study)
    if opinion is not None:
        facts = replace(facts, opinion=opinion)
    talk = _arranged(engine, settings, study, facts)
    text = talk.summary
    if text is None and opinion is not None:
        text = template(facts, kept.summary.language, plain=limits.plain_language)
    if text is None:
        _end(engine, held, SummaryState.REFUSED, talk.reason, opinion_reason)
        return ()
    retold = retell(engine, settings, held.study_id, Told(text, facts))
    if retold is None:
        _end(engine, held, SummaryState.OVERTAKEN, _OVERTAKEN, opinion_reason)
        return ()
    state = SummaryState.ACCEPTED if talk.summary is not None or not limits.asked else SummaryState.REFUSED
    _end(engine, held, state, talk.reason, opinion_reason)
    return retold.destinations


def _opinion(engine: Engine, settings: Settings, study: _Study) -> tuple[Opinion | None, str]:
    """The second opinion, or why there is none; neither where none is wanted."""
    access, analysis = settings.summary.second_opinion, study.standing.analysis
    if not access.asked or not analysis.outcome.analysed:
        return None, ""
    storage, turns = Storage(settings.storage.root), Turns(engine, study.held.id, settings.summary)

    def ask_once(messages: Sequence[Mapping[str, Any]], schema: dict[str, Any]) -> str:
        left_s = study.ends_at_s - monotonic()
        turn = turns.take(Purpose.OPINION, left_s)
        began_s = monotonic()
        answer, fault, detail = None, None, ""
        try:
            answer = ask(access, key, messages, schema, min(access.timeout_s, study.ends_at_s - began_s))
        except ProviderError as error:
            fault, detail = error.fault, error.text
            raise
        finally:
            turns.record(turn, monotonic() - began_s, without_pictures(messages), answer, fault, detail)
        return answer

    with engine.begin() as connection:
        source = read_manifest(connection, study.held.revision_id, storage)
    try:
        key = read_key(access.key_file, OPINION_KEY_VARIABLE)
        evidence = Evidence.from_bytes(storage.evidence(study.held.revision_id).read_bytes())
        return seek(access, analysis, evidence, source, ask_once), ""
    except ProviderError as error:
        return None, f"{error.fault.value}: {error.text}"
    except Withheld as withheld:
        return None, f"withheld: {withheld}"


def _arranged(engine: Engine, settings: Settings, study: _Study, facts: Facts) -> Conversation:
    """The conversation with the language model; an empty one where none is wanted."""
    limits = settings.summary
    if not limits.asked:
        return Conversation(None, "")
    try:
        key = read_key(limits.key_file)
    except ProviderError as error:
        return Conversation(None, f"{error.fault.value}: {error.text}")
    turns = Turns(engine, study.held.id, limits)
    taken: list[int] = []
    talk = converse(
        facts,
        study.kept.summary.language,
        partial(ask, limits, key),
        author=limits.model,
        plain=limits.plain_language,
        wait_s=study.ends_at_s - monotonic(),
        request_s=limits.timeout_s,
        retries=limits.retries,
        gate=lambda within_s: taken.append(turns.take(Purpose.TEXT, within_s)),
    )
    # A turn that was taken too late for a request stays without an answer.
    for turn, exchange in zip(taken, talk.exchanges, strict=False):
        _record(turns, turn, exchange)
    return talk


def _record(turns: Turns, turn: int, exchange: Exchange) -> None:
    turns.record(
        turn,
        exchange.took_s,
        [dict(message) for message in exchange.request],
        exchange.answer,
        exchange.fault,
        exchange.detail,
        [asdict(refusal) for refusal in exchange.refusals],
    )


def _end(
    engine: Engine, held: HeldRequest, state: SummaryState, reason: str, opinion_reason: str = ""
) -> None:
    with engine.begin() as connection:
        summary_requests.finish(connection, held, state, reason, opinion_reason)
    log.info("text", revision=held.revision_id, state=state, reason=reason, opinion=opinion_reason)
