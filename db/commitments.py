"""Storage commitments that peers ask of us (PS3.4 annex J): what they asked, what is promised, who knows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from db import events
from db.clock import seconds
from db.tables import CommitmentTransaction, Instance, Quarantined
from neurotriage.core.states import CommitmentState
from neurotriage.dicom.commitment_request import CommitmentRequest, Reference

KEPT: Final = 10_000
# Of one peer that wait at once; a peer that cannot be told for long loses its oldest.
MAX_OPEN: Final = 500
_SHOWN_FAILURES: Final = 20

Failure = tuple[str, str, int]  # SOP class and instance, Failure Reason


@dataclass(frozen=True, slots=True)
class Undecided:
    """A transaction of which it is not decided what is committed."""

    id: int
    transaction_uid: str
    peer_ae_title: str
    requested_at: datetime
    references: tuple[Reference, ...]
    is_duplicate: bool  # another request came before under its Transaction UID


@dataclass(frozen=True, slots=True)
class Held:
    """A recorded instance; its file is where its digest says."""

    id: int
    sop_class_uid: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DueReport:
    """A decision that its peer does not know yet; ``attempts`` were made to tell it."""

    id: int
    transaction_uid: str
    peer_ae_title: str
    peer_host: str
    called_ae_title: str
    requested_at: datetime
    attempts: int
    committed: tuple[Reference, ...]
    failed: tuple[Failure, ...]


def record_request(
    connection: Connection,
    request: CommitmentRequest,
    *,
    peer_ae_title: str,
    called_ae_title: str,
    peer_host: str,
    requested_at: datetime,
    max_open: int = MAX_OPEN,
    kept: int = KEPT,
) -> None:
    """Record a request. One that was made before by the same peer is decided and reported once more.

    The oldest ended transactions are deleted, and those of the peer end that wait beyond ``max_open``.
    """
    table = CommitmentTransaction
    fresh: dict[str, Any] = {
        "called_ae_title": called_ae_title,
        "peer_host": peer_host,
        "asked": [list(reference) for reference in request.references],
        "asked_count": len(request.references),
        "requested_at": requested_at,
    }
    again = {"state": CommitmentState.WAITING, "decided_at": None, "ended_at": None, "attempts": 0}
    connection.execute(
        insert(table)
        .values(
            transaction_uid=request.transaction_uid,
            peer_ae_title=peer_ae_title,
            digest=_digest(request.references),
            **fresh,
        )
        .on_conflict_do_update(
            index_elements=[table.transaction_uid, table.peer_ae_title, table.digest],
            set_={**fresh, **again, "failed": [], "failed_count": 0, "next_try_at": func.now()},
            where=table.requested_at < requested_at,  # a note that is read twice
        )
    )
    waiting = table.state == CommitmentState.WAITING
    oldest = (
        select(table.id)
        .where(waiting, table.peer_ae_title == peer_ae_title)
        .order_by(table.requested_at.desc())
        .offset(max_open)
    )
    for transaction_id in connection.execute(oldest).scalars().all():
        which = and_(table.id == transaction_id, table.state == CommitmentState.WAITING)
        _end(connection, which, CommitmentState.NOT_REPORTED, "too many of this peer wait")
    newest = select(func.max(table.id)).scalar_subquery()
    connection.execute(delete(table).where(table.id <= newest - kept, ~waiting))


def _digest(references: Collection[Reference]) -> str:
    return sha256("\n".join(sorted(map(" ".join, references))).encode()).hexdigest()


def _undecided() -> Select[Any]:
    table, earlier = CommitmentTransaction, aliased(CommitmentTransaction)
    duplicate = exists().where(earlier.transaction_uid == table.transaction_uid, earlier.id < table.id)
    return (
        select(table.__table__, duplicate.label("is_duplicate"))
        .where(
            table.state == CommitmentState.WAITING,
            table.decided_at.is_(None),
            # When it was recorded, until it is decided.
            or_(
                table.requested_at <= bindparam("recorded_until"),
                table.next_try_at <= bindparam("waited_until"),
            ),
        )
        .order_by(table.requested_at)
        .limit(bindparam("most"))
    )


# Asked several times a second: to build it takes longer than its answer.
_UNDECIDED: Final = _undecided()


def undecided(
    connection: Connection, *, recorded_until: datetime, waited_until: datetime, limit: int = 20
) -> list[Undecided]:
    """Transactions to decide now, the oldest first.

    They were requested before ``recorded_until``, so that all that came before them is recorded, or were
    recorded themselves before ``waited_until``: while Postgres or the ingester was away, nobody waited.
    """
    values = {"recorded_until": recorded_until, "waited_until": waited_until, "most": limit}
    rows = connection.execute(_UNDECIDED, values).mappings()
    return [
        Undecided(
            row["id"],
            row["transaction_uid"],
            row["peer_ae_title"],
            row["requested_at"],
            _references(row),
            row["is_duplicate"],
        )
        for row in rows
    ]


def some_undecided(connection: Connection) -> bool:
    """Whether there is a transaction of which it is not decided what is committed."""
    table = CommitmentTransaction
    waits = exists().where(table.state == CommitmentState.WAITING, table.decided_at.is_(None))
    return bool(connection.execute(select(waits)).scalar())


def _references(row: RowMapping) -> tuple[Reference, ...]:
    return tuple((sop_class, instance) for sop_class, instance in row["asked"])


def lock_instances(connection: Connection, sop_instance_uids: Collection[str]) -> dict[str, list[Held]]:
    """Everything recorded under the UIDs, also bytes that do not count; locks the rows."""
    held: dict[str, list[Held]] = {}
    rows = connection.execute(
        select(
            Instance.id,
            Instance.sop_instance_uid,
            Instance.sop_class_uid,
            Instance.digest,
            Instance.size_bytes,
        )
        .where(Instance.sop_instance_uid.in_(sop_instance_uids))
        .order_by(Instance.id)
        .with_for_update(key_share=True)  # a revision may refer to them meanwhile
    )
    for row in rows:
        found = Held(row.id, row.sop_class_uid, row.digest, row.size_bytes)
        held.setdefault(row.sop_instance_uid, []).append(found)
    return held


def set_aside(connection: Connection, sop_instance_uids: Collection[str]) -> frozenset[str]:
    """Those of the UIDs under which something came that could not be recorded, and nothing else since."""
    rows = connection.execute(
        select(Quarantined.sop_instance_uid).where(
            Quarantined.sop_instance_uid.in_(sop_instance_uids),
            Quarantined.sop_instance_uid != "",
            ~exists().where(
                Instance.sop_instance_uid == Quarantined.sop_instance_uid,
                Instance.received_at > Quarantined.received_at,
            ),
        )
    )
    return frozenset(rows.scalars())


def record_decision(
    connection: Connection, transaction: Undecided, committed: Collection[Held], failed: Sequence[Failure]
) -> None:
    """Promise to keep the ``committed`` instances, and keep what the peer is to be told of the others."""
    connection.execute(
        update(Instance)
        .where(Instance.id.in_({held.id for held in committed}), Instance.committed_at.is_(None))
        .values(committed_at=func.clock_timestamp())
    )
    connection.execute(
        update(CommitmentTransaction)
        .where(CommitmentTransaction.id == transaction.id)
        .values(
            decided_at=func.clock_timestamp(),
            next_try_at=func.clock_timestamp(),
            failed=[list(failure) for failure in failed],
            failed_count=len(failed),
        )
    )
    _event(
        connection, "commitment_decided", transaction, asked=len(transaction.references), failed=len(failed)
    )


def due_reports(connection: Connection, limit: int = 20) -> list[DueReport]:
    """Decisions that are to be reported now: of each peer in turn the one that has waited longest.

    A peer that does not answer so holds up no other.
    """
    table = CommitmentTransaction
    turn = func.row_number().over(
        partition_by=(table.peer_ae_title, table.peer_host), order_by=table.next_try_at
    )
    rows = connection.execute(
        select(table.__table__)
        .where(
            table.state == CommitmentState.WAITING,
            table.decided_at.is_not(None),
            table.next_try_at <= func.clock_timestamp(),
        )
        .order_by(turn, table.next_try_at)
        .limit(limit)
    ).mappings()
    return [_due(row) for row in rows]


def _due(row: RowMapping) -> DueReport:
    failed = tuple((sop_class, instance, int(reason)) for sop_class, instance, reason in row["failed"])
    not_committed = {(sop_class, instance) for sop_class, instance, _ in failed}
    return DueReport(
        row["id"],
        row["transaction_uid"],
        row["peer_ae_title"],
        row["peer_host"],
        row["called_ae_title"],
        row["requested_at"],
        row["attempts"],
        tuple(reference for reference in _references(row) if reference not in not_committed),
        failed,
    )


def postpone(connection: Connection, report: DueReport, why: str, *, in_s: float) -> None:
    """Report again in ``in_s``; ``why`` it failed now. Nothing where it was asked about once more."""
    table = CommitmentTransaction
    connection.execute(
        update(table)
        .where(_is_of(report))
        .values(
            attempts=table.attempts + 1,
            last_status=why,
            next_try_at=func.clock_timestamp() + seconds(in_s),
        )
    )


def end_report(connection: Connection, report: DueReport, state: CommitmentState, why: str) -> None:
    """End a transaction: its peer knows, or cannot be told. Nothing where it was asked about once more."""
    _end(connection, _is_of(report), state, why)


def _is_of(report: DueReport) -> ColumnElement[bool]:
    """Whether a row is still the request that a report answers."""
    table = CommitmentTransaction
    return and_(
        table.id == report.id,
        table.state == CommitmentState.WAITING,
        table.requested_at == report.requested_at,
        table.decided_at.is_not(None),
    )


def _end(connection: Connection, which: ColumnElement[bool], state: CommitmentState, why: str) -> None:
    """End a transaction that waits. What was promised stays promised."""
    table = CommitmentTransaction
    ended = connection.execute(
        update(table)
        .where(which)
        .values(
            state=state,
            attempts=table.attempts + 1,
            last_status=why,
            ended_at=func.clock_timestamp(),
            asked=[],
        )
        .returning(table.id, table.transaction_uid, table.peer_ae_title, table.failed)
    ).one_or_none()
    if ended is None:
        return
    shown = ended.failed[:_SHOWN_FAILURES]
    connection.execute(update(table).where(table.id == ended.id).values(failed=shown))
    _event(connection, f"commitment_{state}", ended, why=why)


def transactions(connection: Connection, *, limit: int, only_open: bool = False) -> Sequence[RowMapping]:
    """The newest transactions for people, without what was asked; ``only_open``: not reported."""
    table = CommitmentTransaction
    columns = [column for column in table.__table__.columns if column.name not in ("asked", "digest")]
    where = [table.state != CommitmentState.REPORTED] if only_open else []
    query = select(*columns).where(*where).order_by(table.requested_at.desc()).limit(limit)
    return connection.execute(query).mappings().all()


def _event(connection: Connection, kind: str, transaction: Any, **detail: Any) -> None:
    events.record(
        connection,
        kind,
        transaction_uid=transaction.transaction_uid,
        peer_ae_title=transaction.peer_ae_title,
        **detail,
    )
