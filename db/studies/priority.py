"""The priority class of a study: raised by evidence as instances come, moved by an admin's word."""

from collections.abc import Collection, Mapping, Sequence
from functools import reduce

from sqlalchemy import Connection, exists, func, select, update

from db import events
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
    for row in rows.all():
        before = _judgement(row.priority, row.priority_basis, row.priority_evidence)
        now = before
        if now is not None and row.over and row.id in sent_again:
            now = after_sent_again(now)
        now = reduce(combined, judged[row.id], now)
        if now is not None and now != before:
            _write(connection, row.id, now, told=before is not None or now.basis is not Basis.NOTHING)


def prioritise(connection: Connection, study_id: int, priority: Priority) -> None:
    """Put a study into a class by an admin's word, which evidence of headers does not change.

    What waits of it moves at once. Locks the study's row.
    """
    _write(connection, study_id, Judgement(priority, Basis.COMMAND, "neurotriage prioritise"))


def hold_back(connection: Connection, study_id: int, evidence: str) -> None:
    """Put a study that is analysed again together with others into the backlog, whatever class it had.

    It stays there until there is evidence for an urgent one, or an admin's word. Locks its row.
    """
    _write(connection, study_id, Judgement(Priority.BACKLOG, Basis.REPEATED, evidence))


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


def _write(connection: Connection, study_id: int, now: Judgement, *, told: bool = True) -> None:
    connection.execute(
        update(Study)
        .where(Study.id == study_id)
        .values(priority=now.priority, priority_basis=now.basis, priority_evidence=now.evidence)
    )
    if told:
        events.record(connection, "prioritised", study_id=study_id, priority=now.priority, basis=now.basis)
