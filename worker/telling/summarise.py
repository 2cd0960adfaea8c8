"""The text of one study with the help of others: a second opinion, and a language model."""

from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

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
from neurotriage.core.summary import Origin
from worker.lease import Heartbeat
from worker.provider import OPINION_KEY_VARIABLE, ProviderError, ProviderFault, ask, read_key
from worker.second_opinion import Withheld, seek, without_pictures
from worker.summary import Facts, Told, template
from worker.summary.arranging import Conversation, converse
from worker.telling.retell import retell, tell_of
from worker.telling.turns import Turns

log = structlog.get_logger()

_LEASE_S: Final = 20.0
_BEYOND_S: Final = 120.0  # for the objects that are made of a text
_UNASKED: Final = (ProviderFault.PAUSED, ProviderFault.NO_TURN)
_OVERTAKEN: Final = "another analysis or text of the study took the place, or is about to"


@dataclass(frozen=True, slots=True)
class _Study:
    """What is known of a study about which others are asked."""

    held: HeldRequest
    kept: KeptSummary
    standing: StandingAnalysis
    told: Told  # by the template, with today's settings
    ends_at_s: float  # by the monotonic clock


class _RequestKeeper(Heartbeat):
    """Keeps the lease of a request while it is worked on."""

    def __init__(self, engine: Engine, held: HeldRequest, limit_s: float) -> None:
        super().__init__(lease_s=_LEASE_S, limit_s=limit_s)
        self._engine, self._held = engine, held

    def renew(self) -> bool:
        with self._engine.begin() as connection:
            return summary_requests.renew(connection, self._held, lease_s=_LEASE_S)


def summarise(engine: Engine, settings: Settings, *, owner: str) -> tuple[str, ...]:
    """Ask about the study that waits longest; the names of the destinations that get its text.

    Whatever a provider does, asking ends within ``[summary] wait_s`` of the study's analysis, and the text of
    the template stays unless every sentence was accepted. Raises ``DBAPIError`` while Postgres is away and
    ``OSError`` where the storage fails: the lease runs out, and another attempt follows.
    """
    limits = settings.summary
    with engine.begin() as connection:
        held = summary_requests.claim_next(
            connection,
            owner=owner,
            wait_s=limits.wait_s,
            lease_s=_LEASE_S,
            attempts=settings.worker.max_attempts,
        )
        if held is None:
            return ()
        kept = summaries.newest(connection, held.analysis_id)
        standing = analyses.standing(connection, held.study_id)
        overtaken = standing is None or standing.id != held.analysis_id
        told = None if standing is None else tell_of(connection, settings, standing)
    if kept is None or standing is None or told is None or overtaken:
        _end(engine, held, SummaryState.OVERTAKEN, _OVERTAKEN)
        return ()
    study = _Study(held, kept, standing, told, monotonic() + held.left_s)
    with _RequestKeeper(engine, held, held.left_s + _BEYOND_S):
        return _asked(engine, settings, study)


def _asked(engine: Engine, settings: Settings, study: _Study) -> tuple[str, ...]:
    """Ask, and tell the results again where there is something new to tell."""
    opinion, opinion_reason = _opinion(engine, settings, study)
    # Of today alone: an opinion that was taken back, or that nobody wants any more, is no fact.
    facts = replace(study.told.facts, opinion=opinion)
    talk = _arranged(engine, settings, study, facts)
    text = talk.summary or template(facts, settings.summary.language, plain=settings.summary.plain_language)
    refused = talk.summary is None and (settings.summary.asked or opinion is None)
    state = SummaryState.REFUSED if refused else SummaryState.ACCEPTED
    former = study.kept.summary
    # A text that a model arranged stays where it is only asked in vain again.
    stays = talk.summary is None and former.origin is Origin.MODEL and former.opinion == opinion
    if stays or text == former:
        _end(engine, study.held, state, talk.reason, opinion_reason)
        return ()

    def ended(connection: Connection) -> bool:
        """In the transaction of the text: whoever lost the request writes none."""
        return summary_requests.finish(connection, study.held, state, talk.reason, opinion_reason)

    retold = retell(engine, settings, study.held.study_id, Told(text, facts), may_write=ended)
    if retold is None:
        _end(engine, study.held, SummaryState.OVERTAKEN, _OVERTAKEN, opinion_reason)
        return ()
    log.info("text", revision=study.held.revision_id, state=state)
    return retold.destinations


def _opinion(engine: Engine, settings: Settings, study: _Study) -> tuple[Opinion | None, str]:
    """The second opinion, or why there is none; neither where none is wanted."""
    access, standing = settings.summary.second_opinion, study.standing
    if not access.asked:
        return None, ""
    storage = Storage(settings.storage.root)
    with engine.begin() as connection:
        source = read_manifest(connection, standing.revision_id, storage)
    evidence = Evidence.from_bytes(storage.evidence(standing.revision_id).read_bytes())
    try:
        turns = Turns(
            engine,
            study.held.id,
            Purpose.OPINION,
            settings.summary,
            partial(ask, access, read_key(access.key_file, OPINION_KEY_VARIABLE)),
            without_pictures,
        )
    except ProviderError as error:
        return None, f"{error.fault.value}: {error.text}"
    limit_s = min(access.timeout_s, study.ends_at_s - monotonic())
    try:
        return seek(access, standing.analysis, evidence, source, turns, limit_s), ""
    except ProviderError as error:
        if error.fault is ProviderFault.NOT_AN_ANSWER and turns.taken:
            turns.refuse(turns.taken[-1], fault=error.fault, detail=error.text)
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
    turns = Turns(engine, study.held.id, Purpose.TEXT, limits, partial(ask, limits, key))
    talk = converse(
        facts,
        limits.language,
        turns,
        author=limits.model,
        plain=limits.plain_language,
        wait_s=study.ends_at_s - monotonic(),
        request_s=limits.timeout_s,
        retries=limits.retries,
    )
    made = [exchange for exchange in talk.exchanges if exchange.fault not in _UNASKED]
    for turn, exchange in zip(turns.taken, made, strict=True):
        turns.refuse(turn, exchange.refusals, exchange.fault, exchange.detail)
    return talk


def _end(
    engine: Engine, held: HeldRequest, state: SummaryState, reason: str, opinion_reason: str = ""
) -> None:
    with engine.begin() as connection:
        summary_requests.finish(connection, held, state, reason, opinion_reason)
    # The reason may quote what the text says of the patient's head: it is kept with the study, not logged.
    log.info("text", revision=held.revision_id, state=state)
