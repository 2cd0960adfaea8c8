"""Decides which of the instances that a peer asked about are committed (PS3.4 J.3.2)."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from db import commitments
from db.commitments import Failure, Held, Undecided
from db.engine import outage_as_unavailable
from dicom_listener.backlog import Backlog
from dicom_listener.spool import read_received
from neurotriage.core.storage import Storage
from neurotriage.dicom.commitment import FailureReason

log = structlog.get_logger()

# What was received before a request is recorded within this time, or is not committed.
WAIT_S: Final = 300.0


def decide(
    engine: Engine, storage: Storage, backlog: Backlog, now: datetime, *, wait_s: float = WAIT_S
) -> int:
    """Decide the transactions that are due; their number.

    A transaction is due once all that was received before it is recorded, or after ``wait_s``. ``now``: by
    the clock of ``backlog``. Raises ``Unavailable`` while Postgres does not answer. An error on one is raised
    after all others were tried.
    """
    recorded_until = min([backlog.listed_until, *backlog.oldest.values()])
    with outage_as_unavailable(), engine.connect() as connection:
        due = commitments.undecided(
            connection, recorded_until=recorded_until, waited_until=now - timedelta(seconds=wait_s)
        )
    errors = []
    for transaction in due:
        try:
            with outage_as_unavailable(), engine.begin() as connection:
                failed = _decide(connection, storage, transaction, transaction.requested_at <= recorded_until)
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)
            continue
        log.info(
            "commitment_decided",
            transaction_uid=transaction.transaction_uid,
            asked=len(transaction.references),
            failed=failed,
        )
    if errors:
        raise errors[0]
    return len(due)


def some_undecided(engine: Engine) -> bool:
    """Whether a transaction waits to be decided, due or not. Raises ``Unavailable`` without Postgres."""
    with outage_as_unavailable(), engine.connect() as connection:
        return commitments.some_undecided(connection)


def _decide(connection: Connection, storage: Storage, transaction: Undecided, all_recorded: bool) -> int:
    uids = {instance for _, instance in transaction.references}
    held = commitments.lock_instances(connection, uids)
    aside = commitments.set_aside(connection, uids)

    def is_kept(instance: Held) -> bool:
        return _is_kept(storage, instance)

    failed: list[Failure] = []
    committed: list[Held] = []
    for sop_class, instance in transaction.references:
        found = held.get(instance, ())
        reason = FailureReason.DUPLICATE_TRANSACTION if transaction.is_duplicate else None
        if reason is None and instance in aside:
            reason = FailureReason.PROCESSING_FAILURE  # these may be the bytes that the peer means
        reason = reason or failure_of(sop_class, found, is_kept, all_recorded=all_recorded)
        if reason is not None:
            failed.append((sop_class, instance, reason))
        else:
            committed += [one for one in found if one.sop_class_uid == sop_class]
    commitments.record_decision(connection, transaction, committed, failed)
    return len(failed)


def failure_of(
    sop_class_uid: str, found: Sequence[Held], is_kept: Callable[[Held], bool], *, all_recorded: bool
) -> FailureReason | None:
    """Why an instance is not committed; None: it is.

    ``found``: what is recorded under its UID, all of which is kept where its bytes differ; ``all_recorded``:
    nothing that came before the request waits to be recorded.
    """
    if not found:
        # What is not recorded yet may be ours, so it is not said that we have no such object.
        return FailureReason.NO_SUCH_OBJECT if all_recorded else FailureReason.PROCESSING_FAILURE
    of_class = [one for one in found if one.sop_class_uid == sop_class_uid]
    if not of_class:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    return None if all(map(is_kept, of_class)) else FailureReason.PROCESSING_FAILURE


def _is_kept(storage: Storage, instance: Held) -> bool:
    """Whether its file is in the store, of its length and written under its digest."""
    try:
        stored = read_received(storage.stored_instance(instance.digest)).reception
    except OSError:
        return False
    return stored.size_bytes == instance.size_bytes and stored.digest in ("", instance.digest)
