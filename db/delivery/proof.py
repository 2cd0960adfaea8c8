"""The proof of a delivery: the destination committed the object, or it was found there.

What is stored and wants a proof has ``proof_due_at``: when to look next. It is empty once there is a proof,
or where none can be had. An object that the destination lost is sent again, a bounded number of times.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, Row, exists, func, or_, select, update

from db import events
from db.clock import seconds
from db.delivery.deliveries import FRESH, DueDelivery, deliveries
from db.delivery.destinations import SendingRight, held
from db.tables import AnalysisRow, Delivery, ResultObjectRow, Revision
from neurotriage.core.states import DeliveryState
from neurotriage.core.values import NoteKind
from neurotriage.dicom.commitment import CommitmentReport


def due(connection: Connection, destination: str, *, revision_id: int | None = None) -> list[DueDelivery]:
    """What is stored at a destination and should be proven now, study by study."""
    where = [
        Delivery.destination == destination,
        Delivery.state == DeliveryState.STORED,
        Delivery.proof_due_at <= func.clock_timestamp(),
    ]
    if revision_id is not None:
        where.append(AnalysisRow.revision_id == revision_id)
    return deliveries(connection, *where)


def ask(
    connection: Connection,
    right: SendingRight,
    objects: Iterable[DueDelivery],
    transaction_uid: str,
    *,
    ae_title: str,
    wait_s: float,
) -> bool:
    """Note a storage commitment before it is asked for: its answer may be faster than we are.

    ``ae_title`` is who is asked.
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


def found(connection: Connection, right: SendingRight, objects: Collection[DueDelivery]) -> None:
    """Note that a query found the objects."""
    _end(connection, right, objects, found_at=func.clock_timestamp(), proof="found by query")


def no_proof(
    connection: Connection, right: SendingRight, objects: Collection[DueDelivery], why: str, *, alarm: bool
) -> None:
    """Look for a proof no more. ``alarm``: there should have been one."""
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


def put_off(
    connection: Connection, right: SendingRight, objects: Iterable[DueDelivery], why: str, *, in_s: float
) -> None:
    """Look again later."""
    connection.execute(
        update(Delivery)
        .where(Delivery.id.in_([item.id for item in objects]), exists().where(*held(right)))
        .values(
            proof=why,
            proof_tries=Delivery.proof_tries + 1,
            proof_due_at=func.clock_timestamp() + seconds(in_s),
        )
    )


def lost(
    connection: Connection,
    objects: Iterable[DueDelivery],
    why: str,
    *,
    max_resends: int,
    retry_in_s: float,
) -> int:
    """The destination said success and does not have the objects: send them again; how many.

    Raises an alarm in any case. What was sent again ``max_resends`` times, or was replaced by a newer
    revision, stays unproven.
    """
    rows = connection.execute(
        select(
            Delivery.id,
            Delivery.destination,
            Delivery.resends,
            AnalysisRow.study_id,
            AnalysisRow.revision_id,
            ResultObjectRow.sop_instance_uid,
            (Revision.superseded & (ResultObjectRow.kind != NoteKind.REJECTION)).label("replaced"),
        )
        .join(ResultObjectRow, ResultObjectRow.id == Delivery.result_object_id)
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        .join(Revision, Revision.id == AnalysisRow.revision_id)
        .where(Delivery.id.in_([item.id for item in objects]), Delivery.state == DeliveryState.STORED)
        .with_for_update(of=Delivery)
    ).all()
    return sum(_lose(connection, row, why, max_resends, retry_in_s) for row in rows)


def _lose(connection: Connection, row: Row, why: str, max_resends: int, retry_in_s: float) -> bool:  # type: ignore[type-arg]
    again = row.resends < max_resends and not row.replaced
    now = func.clock_timestamp()
    # What it said of the object before is taken back.
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
    """Match the answer to a storage commitment to its deliveries; how many it is about.

    Only ``ae_title``, the peer that reports, can speak of what it was asked. Objects that we did not ask
    about in this transaction are passed over.
    """
    title = "".join(character for character in ae_title if character.isprintable()).strip()
    asked = deliveries(
        connection,
        Delivery.commitment_uid == report.transaction_uid,
        # Empty: asked before this was kept.
        or_(Delivery.commitment_ae_title.is_(None), Delivery.commitment_ae_title == title),
        Delivery.state == DeliveryState.STORED,
        limit=10_000,
    )
    promised, reasons = set(report.committed), dict(report.failed)
    committed = [item for item in asked if item.sop_instance_uid in promised]
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
    failed = [item for item in asked if item.sop_instance_uid in reasons]
    for item in failed:
        why = f"not committed by the destination: {_failure(reasons[item.sop_instance_uid])}"
        lost(connection, [item], why, max_resends=max_resends, retry_in_s=retry_in_s)
    if not committed and not failed:
        events.record(
            connection,
            "commitment_unknown",
            transaction_uid=report.transaction_uid,
            peer_ae_title=title,
        )
    return len(committed) + len(failed)


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
