"""The text of a study anew, with the objects that show it, from what is kept: nothing is analysed again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, select

from db import events
from db.studies import analyses, objects, summaries
from db.studies.analyses import StandingAnalysis
from db.studies.manifest import read_manifest
from db.studies.objects import WrittenObject
from db.studies.summaries import KeptSummary
from db.tables import Study
from neurotriage.core.evidence import Evidence
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage
from neurotriage.core.values import ObjectReference, ResultKind, ResultObject, StudyManifest
from worker.keep import addresses_of, keep
from worker.results import build, showing_text
from worker.routing import named_kinds, wanted_kinds
from worker.summary import Told, tell


@dataclass(frozen=True, slots=True)
class Retold:
    """A text that was made again, and the objects that show it: none where the words are the same."""

    told: Told
    changed: bool
    objects: tuple[ResultObject, ...] = ()
    destinations: tuple[str, ...] = ()  # that are to get them


@dataclass(frozen=True, slots=True)
class _Kept:
    """All that the results of a study are made of."""

    standing: StandingAnalysis
    manifest: StudyManifest
    told: Told
    before: KeptSummary | None  # the text that stands
    telling: int
    installation: str
    previous: tuple[ObjectReference, ...]
    uids: frozenset[str]  # of all objects of the analysis
    sender: tuple[str, str]


def retell(
    engine: Engine,
    settings: Settings,
    study_id: int,
    told: Told | None = None,
    *,
    may_write: Callable[[Connection], bool] = lambda _: True,
) -> Retold | None:
    """Make what shows the text again, as a revision that names what it replaces.

    ``told``: the text; without it, that of the template with today's settings. The claims are those of the
    analysis. ``may_write`` is asked in the transaction that records it. None where it says no, where no
    analysis stands, or where another took its place or is about to. Raises ``OSError`` where the storage
    fails or lacks what the analysis kept.
    """
    storage = Storage(settings.storage.root)
    with engine.begin() as connection:
        kept = _read(connection, settings, storage, study_id, told)
    if kept is None:
        return None
    if kept.before is not None and kept.before.summary == kept.told.summary:
        with engine.begin() as connection:
            return Retold(kept.told, changed=False) if may_write(connection) else None
    made = [item for item in _build(kept, settings, storage) if item.sop_instance_uid not in kept.uids]
    written = [
        keep(
            storage,
            kept.standing.revision_id,
            result,
            addresses_of(settings.destination, kept.standing.analysis, result, kept.sender),
            settings.destination,
        )
        for result in made
    ]
    with engine.begin() as connection:
        connection.execute(select(Study.id).where(Study.id == study_id).with_for_update(key_share=True))
        current = analyses.standing(connection, study_id)
        if current is None or current.id != kept.standing.id or analyses.pending(connection, study_id):
            return None
        if summaries.count(connection, current.id) != kept.telling or not may_write(connection):
            return None
        _record(connection, study_id, kept, written)
    destinations = dict.fromkeys(name for item in written for name in item.destinations)
    return Retold(kept.told, changed=True, objects=tuple(made), destinations=tuple(destinations))


def _read(
    connection: Connection, settings: Settings, storage: Storage, study_id: int, told: Told | None
) -> _Kept | None:
    standing = analyses.standing(connection, study_id)
    if standing is None or analyses.pending(connection, study_id):
        return None
    return _Kept(
        standing,
        read_manifest(connection, standing.revision_id, storage),
        told or tell_of(connection, settings, standing),
        summaries.newest(connection, standing.id),
        summaries.count(connection, standing.id),
        analyses.installation_uid(connection),
        objects.last_documents(connection, study_id),
        objects.recorded_uids(connection, standing.id),
        analyses.sender(connection, study_id),
    )


def tell_of(connection: Connection, settings: Settings, standing: StandingAnalysis) -> Told:
    """The template's text about a standing analysis, with today's settings."""
    earlier = analyses.earlier_outcome(connection, standing.revision_id)
    return tell(standing.analysis, settings.summary, standing.claims, earlier)


def _build(kept: _Kept, settings: Settings, storage: Storage) -> tuple[ResultObject, ...]:
    """The objects that show the text or showed the former one, and key objects that name them.

    For key objects everything is made again that they may name: what is the same has the same UID.
    """
    data = storage.evidence(kept.standing.revision_id).read_bytes()
    wanted = wanted_kinds(settings.destination)
    outcome, former = kept.standing.analysis.outcome, kept.before.summary if kept.before else None
    showing = showing_text(outcome, kept.told.summary) | showing_text(outcome, former)
    return build(
        replace(kept.standing.analysis, omissions=()),
        Evidence.from_bytes(data),
        kept.manifest,
        kept.installation,
        claims=kept.standing.claims,
        kinds=wanted if ResultKind.KEY_OBJECTS in wanted else wanted & showing,
        labels=settings.results.labels,
        overlay=settings.results.overlay,
        previous=kept.previous,
        named=named_kinds(settings.destination),
        summary=kept.told.summary,
        former=former,
        telling=kept.telling,
        retold_at=datetime.now(UTC),
    ).objects


def _record(connection: Connection, study_id: int, kept: _Kept, written: Sequence[WrittenObject]) -> None:
    """The text and its objects, in the place of those before."""
    analysis_id = kept.standing.id
    summaries.record(connection, analysis_id, KeptSummary(kept.told.summary, kept.told.facts_document()))
    objects.supersede(connection, analysis_id, {item.result.kind for item in written})
    for item in written:
        objects.record_object(connection, analysis_id, item, deliver=True)
    events.record(
        connection,
        "told_again",
        study_id=study_id,
        revision_id=kept.standing.revision_id,
        objects=len(written),
    )
