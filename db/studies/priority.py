"""The priority class of a study: raised by evidence as instances come, moved by an admin's word."""

from collections.abc import Collection, Mapping, Sequence
from functools import reduce

from sqlalchemy import BigInteger, Connection, String, exists, func, select, update

from db import events
from db.columns import columns
from db.studies.leases import free
from db.tables import Revision, Study
from neurotriage.core.priority import Basis, Judgement, Priority, after_sent_again, combined
from neurotriage.core.states import RevisionState, StudyState


def note(
    connection: Connection,
    judged: Mapping[int, Sequence[Judgement]],
    *,
    sent_again: Collection[int] = (),
) -> None:
    """Bring studies to the class that the judgements on new instances make of them.

    ``sent_again``: studies of which an instance came that is known already. The rows of the studies must be
    locked, and instances not yet have opened them.
    """
    analysed = exists().where(Revision.study_id == Study.id, Revision.state == RevisionState.ANALYSED)
    rows = connection.execute(
        select(
            Study.id,
            Study.priority,
            Study.priority_basis,
            Study.priority_evidence,
            ((Study.state == StudyState.QUIET) & analysed).label("over"),
        ).where(Study.id.in_(judged))
    )
    moved: dict[int, Judgement] = {}
    told = set()
    for row in rows.all():
        before = _judgement(row.priority, row.priority_basis, row.priority_evidence)
        now = before
        if now is not None and row.over and row.id in sent_again:
            now = after_sent_again(now)
        now = reduce(combined, judged[row.id], now)
        if now is not None and now != before:
            moved[row.id] = now
            if before is not None or now.basis is not Basis.NOTHING:
                told.add(row.id)
    _write(connection, moved, told)


def prioritise(connection: Connection, study_id: int, priority: Priority) -> None:
    """Put a study into a class by an admin's word, which evidence of headers does not change.

    What waits of it moves at once. Locks the study's row.
    """
    now = Judgement(priority, Basis.COMMAND, "neurotriage prioritise")
    _write(connection, {study_id: now}, {study_id})


def hold_back(connection: Connection, study_id: int, evidence: str) -> None:
    """Put a study that is analysed again together with others into the backlog, whatever class it had.

    It stays there until there is evidence for an urgent one, or an admin's word. Locks its row.
    """
    _write(connection, {study_id: Judgement(Priority.BACKLOG, Basis.REPEATED, evidence)}, {study_id})


def waiting(connection: Connection) -> Mapping[Priority, int]:
    """How many revisions wait for a worker, by class, the most urgent first."""
    rows = connection.execute(
        select(Study.priority, func.count())
        .join(Revision, Revision.study_id == Study.id)
        .where(free())
        .group_by(Study.priority)
    )
    counts = {row[0]: int(row[1]) for row in rows}
    return {priority: counts.get(priority, 0) for priority in Priority}


def _judgement(priority: str, basis: str, evidence: str) -> Judgement | None:
    """None: nothing is known of the study yet."""
    return Judgement(Priority(priority), Basis(basis), evidence) if basis else None


def _write(connection: Connection, moved: Mapping[int, Judgement], told: Collection[int]) -> None:
    """Write the class of each study; ``told``: those of which it is an event."""
    if not moved:
        return
    now = columns(
        study_id=(BigInteger, list(moved)),
        priority=(String, [judged.priority for judged in moved.values()]),
        basis=(String, [judged.basis for judged in moved.values()]),
        evidence=(String, [judged.evidence for judged in moved.values()]),
    )
    connection.execute(
        update(Study)
        .where(Study.id == now.c.study_id)
        .values(priority=now.c.priority, priority_basis=now.c.basis, priority_evidence=now.c.evidence)
    )
    details = {
        study_id: {"priority": judged.priority, "basis": judged.basis}
        for study_id, judged in moved.items()
        if study_id in told
    }
    events.record_all(connection, "prioritised", details)
