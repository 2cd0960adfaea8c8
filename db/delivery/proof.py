"""The proof of a delivery: the destination committed the object, or a query found it there.

A stored object that is to be proven has ``proof_due_at``, the time to look next. It is empty once there is a
proof, or where none can be had. An object that the destination lost is sent again, a bounded number of times.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, Row, exists, func, select, update

from db import events
from db.clock import seconds
from db.delivery.deliveries import FRESH, DueDelivery, deliveries, hold_revisions
from db.delivery.destinations import SendingRight, held
from db.pauses import paused
from db.tables import AnalysisRow, Delivery, ResultObjectRow, Revision
from neurotriage.core.states import DeliveryState
from neurotriage.core.values import NoteKind
from neurotriage.dicom.commitment import CommitmentReport


def due(connection: Connection, destination: str, *, revision_id: int | None = None) -> list[DueDelivery]:
    """Deliveries stored at a destination whose proof is due, study by study, the most urgent first.

    ``revision_id``: of this revision only.
    """
    where = [
        Delivery.destination == destination,
        Delivery.state == DeliveryState.STORED,
        Delivery.proof_due_at <= func.clock_timestamp(),
        ~paused(destination),
    ]
    if revision_id is not None:
        where.append(AnalysisRow.revision_id == revision_id)
    return deliveries(connection, *where)


def record_request(
    connection: Connection,
    right: SendingRight,
    objects: Iterable[DueDelivery],
    transaction_uid: str,
    *,
    ae_title: str,
    wait_s: float,
) -> bool:
    """Record a storage commitment (PS3.4 annex J) before it is asked for: the report may come at once.

    ``ae_title``: the one that is asked, whose report alone counts. The proof is looked for again in
    ``wait_s``. False: the right was lost, so do not ask.
    """
    asked = connection.execute(
        update(Delivery)
        .where(Delivery.id.in_([item.id for item in objects]), exists().where(*held(right)))
        .values(
            commitment_uid=transaction_uid,
            commitment_ae_title=ae_title,
            proof="storage commitment asked for",
            proof_due_at=func.clock_timestamp() + seconds(wait_s),
        )
    )
    return asked.rowcount > 0


def record_found(connection: Connection, right: SendingRight, objects: Collection[DueDelivery]) -> None:
    """Record that a query found the objects, and end their alarm.

    Nothing happens where the right was lost.
    """
    _end(connection, right, objects, found_at=func.clock_timestamp(), proof="found by query")


def record_unproven(
    connection: Connection, right: SendingRight, objects: Collection[DueDelivery], why: str, *, alarm: bool
) -> None:
    """Look for a proof no more, because of ``why``. ``alarm``: there should have been one.

    Nothing happens where the right was lost.
    """
    values = {"alarmed_at": func.clock_timestamp()} if alarm else {}
    _end(connection, right, objects, kind="unproven", proof=why, **values)


def _end(
    connection: Connection,
    right: SendingRight,
    objects: Collection[DueDelivery],
    kind: str = "found",
    **values: object,
) -> None:
    proven = {"alarmed_at": None} if kind == "found" else {}
    rows = connection.execute(
        update(Delivery)
        .where(
            Delivery.id.in_([item.id for item in objects]),
            Delivery.state == DeliveryState.STORED,
            exists().where(*held(right)),
        )
        .values(proof_due_at=None, **proven, **values)
        .returning(Delivery.id)
    ).scalars()
    ended = set(rows)
    studies = Counter((item.study_id, item.revision_id) for item in objects if item.id in ended)
    for (study_id, revision_id), count in studies.items():
        events.record(
            connection,
            kind,
            study_id=study_id,
            revision_id=revision_id,
            destination=right.destination,
            objects=count,
        )


def postpone(
    connection: Connection, right: SendingRight, objects: Iterable[DueDelivery], why: str, *, in_s: float
) -> None:
    """Look for the proof again in ``in_s``, and keep ``why``. Nothing happens where the right was lost."""
    connection.execute(
        update(Delivery)
        .where(Delivery.id.in_([item.id for item in objects]), exists().where(*held(right)))
        .values(
            proof=why,
            proof_tries=Delivery.proof_tries + 1,
            proof_due_at=func.clock_timestamp() + seconds(in_s),
        )
    )


def record_lost(
    connection: Connection,
    objects: Iterable[DueDelivery],
    why: str,
    *,
    max_resends: int,
    retry_in_s: float,
) -> int:
    """Record that the destination said success and does not have the objects; how many are sent again.

    Raises an alarm in any case. An object that was sent again ``max_resends`` times, or was replaced by a
    newer revision, stays unproven. Locks the deliveries.
    """
    ids = [item.id for item in objects]
    hold_revisions(
        connection,
        select(AnalysisRow.revision_id)
        .join(ResultObjectRow, ResultObjectRow.analysis_id == AnalysisRow.id)
        .join(Delivery, Delivery.result_object_id == ResultObjectRow.id)
        .where(Delivery.id.in_(ids)),
    )
    rows = connection.execute(
        select(
            Delivery.id,
            Delivery.destination,
            Delivery.resends,
            AnalysisRow.study_id,
            AnalysisRow.revision_id,
            ResultObjectRow.sop_instance_uid,
            (
                (Revision.superseded | ResultObjectRow.superseded)
                & (ResultObjectRow.kind != NoteKind.REJECTION)
            ).label("replaced"),
        )
        .join(ResultObjectRow, ResultObjectRow.id == Delivery.result_object_id)
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        .join(Revision, Revision.id == AnalysisRow.revision_id)
        .where(Delivery.id.in_(ids), Delivery.state == DeliveryState.STORED)
        .with_for_update(of=Delivery)
    ).all()
    return sum(_record_loss(connection, row, why, max_resends, retry_in_s) for row in rows)


def _record_loss(
    connection: Connection,
    row: Row,  # type: ignore[type-arg]
    why: str,
    max_resends: int,
    retry_in_s: float,
) -> bool:
    again = row.resends < max_resends and not row.replaced
    now = func.clock_timestamp()
    # Proofs from before the loss count no more.
    values: dict[str, object] = {"alarmed_at": now, "proof": why, "committed_at": None, "found_at": None}
    if again:
        values = {
            **FRESH,
            **values,
            "state": DeliveryState.WAITING,
            "stored_at": None,
            "resends": row.resends + 1,
            "next_try_at": now + seconds(retry_in_s),
        }
    else:
        values |= {"proof_due_at": None, "proof": f"{why}; sent {row.resends + 1} times"}
    connection.execute(update(Delivery).where(Delivery.id == row.id).values(**values))
    events.record(
        connection,
        "sent_again" if again else "unproven",
        study_id=row.study_id,
        revision_id=row.revision_id,
        destination=row.destination,
        sop_instance_uid=row.sop_instance_uid,
        why=why,
    )
    return again


def record_report(
    connection: Connection,
    report: CommitmentReport,
    *,
    ae_title: str,
    max_resends: int,
    retry_in_s: float,
) -> int:
    """Match the report of a storage commitment to its deliveries; how many it is about.

    ``ae_title``: the peer that reports; it can speak only of what it was asked. Objects that are not of this
    transaction are passed over. Failed ones are sent again as by ``record_lost``. A report about nothing of
    ours is an event ``commitment_unknown``.
    """
    title = "".join(character for character in ae_title if character.isprintable()).strip()
    asked = deliveries(
        connection,
        Delivery.commitment_uid == report.transaction_uid,
        Delivery.commitment_ae_title == title,
        Delivery.state == DeliveryState.STORED,
        limit=10_000,
    )
    promised, reasons = set(report.committed), dict(report.failed)
    committed = [item for item in asked if item.sop_instance_uid in promised]
    _record_committed(connection, committed)
    failed = [item for item in asked if item.sop_instance_uid in reasons]
    for item in failed:
        why = f"not committed by the destination: {_failure(reasons[item.sop_instance_uid])}"
        record_lost(connection, [item], why, max_resends=max_resends, retry_in_s=retry_in_s)
    if not committed and not failed:
        events.record(
            connection,
            "commitment_unknown",
            transaction_uid=report.transaction_uid,
            peer_ae_title=title,
        )
    return len(committed) + len(failed)


def _record_committed(connection: Connection, committed: Collection[DueDelivery]) -> None:
    """A report that comes twice is recorded once."""
    fresh = connection.execute(
        update(Delivery)
        .where(Delivery.id.in_([item.id for item in committed]), Delivery.committed_at.is_(None))
        .values(
            committed_at=func.clock_timestamp(),
            proof="committed by the destination",
            proof_due_at=None,
            alarmed_at=None,
        )
        .returning(Delivery.id)
    ).scalars()
    new = set(fresh)
    studies = Counter((item.study_id, item.revision_id) for item in committed if item.id in new)
    for (study_id, revision_id), count in studies.items():
        events.record(connection, "committed", study_id=study_id, revision_id=revision_id, objects=count)


def _failure(reason: int) -> str:
    """FailureReason in words (PS3.4 J.3.3.1.1)."""
    words = {
        0x0110: "processing failure",
        0x0112: "it does not have the object",
        0x0119: "class and instance do not belong together",
        0x0122: "SOP class not supported",
        0x0131: "the transaction was used before",
        0x0213: "out of resources",
    }
    return f"{words.get(reason, 'failure')} (0x{reason:04X})"
