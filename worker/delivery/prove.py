"""Proves that a destination has what it answered with success: by storage commitment, else by a query.

Objects that are missing are queried for again, then sent again, each a bounded number of times.
"""

from collections.abc import Sequence
from typing import Final

import structlog
from sqlalchemy import Engine

from db.delivery import proof
from db.delivery.deliveries import DueDelivery
from db.delivery.destinations import SendingRight
from neurotriage.core.errors import Unavailable
from neurotriage.core.retries import retry_delay_s
from neurotriage.core.settings import DeliverySettings
from neurotriage.dicom.uids import random_uid
from worker.delivery.client import ArchiveClient, NotServed, Unanswered
from worker.delivery.dimse_client import NO_QUERY
from worker.delivery.query import QUERY_PAUSE_S, Queries

log = structlog.get_logger()

# An archive may need a while to index what it stored; after this many queries the object is lost.
_MAX_QUERIES: Final = 4


class Prover:
    """Proves the objects stored at one destination, for the holder of its sending right."""

    def __init__(
        self, engine: Engine, limits: DeliverySettings, right: SendingRight, queries: Queries
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._right = right
        self._queries = queries

    def prove(self, client: ArchiveClient, objects: Sequence[DueDelivery]) -> None:
        """Request storage commitment once for each object; query for objects that were not committed.

        All objects are of one study and due for their proof. Without storage commitment all are queried for.
        """
        unrequested = [item for item in objects if item.commitment_uid is None] if client.commits else []
        if unrequested:
            self._request_commitment(client, unrequested)
        rest = [item for item in objects if item not in unrequested]
        if rest:
            self._query(client, rest)

    def _request_commitment(self, client: ArchiveClient, objects: Sequence[DueDelivery]) -> None:
        transaction_uid = random_uid()
        with self._engine.begin() as connection:
            wait_s = self._limits.commitment_wait_s
            if not proof.record_request(
                connection,
                self._right,
                objects,
                transaction_uid,
                ae_title=client.ae_title,
                wait_s=wait_s,
            ):
                return
        try:
            report = client.commit(transaction_uid, objects)
        except Unavailable as refused:
            self._log("commitment_refused", objects, str(refused))
            self._query(client, objects)
            return
        if report is not None and report.transaction_uid == transaction_uid:
            with self._engine.begin() as connection:
                proof.record_report(
                    connection,
                    report,
                    ae_title=client.ae_title,
                    max_resends=self._limits.max_resends,
                    retry_in_s=self._limits.retry_s,
                )

    def _query(self, client: ArchiveClient, objects: Sequence[DueDelivery]) -> None:
        try:
            present = self._queries.present(client, objects)
        except NotServed as not_served:
            self._end_unproven(objects, str(not_served))
        except Unanswered as unanswered:
            self.query_unanswered(objects, str(unanswered))
        except Unavailable as unavailable:
            self.postpone(objects, str(unavailable))
        else:
            proven = [item for item in objects if item.sop_instance_uid in present]
            with self._engine.begin() as connection:
                proof.record_found(connection, self._right, proven)
            self._handle_missing([item for item in objects if item.sop_instance_uid not in present])

    def _end_unproven(self, objects: Sequence[DueDelivery], why: str) -> None:
        """End the proof where no query can be made; with an alarm where a requested commitment never came."""
        requested = [item for item in objects if item.commitment_uid is not None]
        others = [item for item in objects if item.commitment_uid is None]
        offered = f"no storage commitment, and {why}"
        if why == NO_QUERY:
            offered = "the destination offers neither storage commitment nor query"
        with self._engine.begin() as connection:
            proof.record_unproven(connection, self._right, others, f"no proof: {offered}", alarm=False)
            never = f"no proof: storage commitment was never answered, and {why}"
            proof.record_unproven(connection, self._right, requested, never, alarm=True)
        if requested:
            self._log("delivery_unproven", requested, never)

    def query_unanswered(self, objects: Sequence[DueDelivery], why: str) -> None:
        """Postpone the proof until queries are sent again; end it after a few timeouts."""
        last = [item for item in objects if item.proof_tries + 1 >= _MAX_QUERIES]
        rest = [item for item in objects if item not in last]
        if last:
            self._end_unproven(last, why)
        with self._engine.begin() as connection:
            proof.postpone(connection, self._right, rest, why, in_s=QUERY_PAUSE_S)

    def _handle_missing(self, missing: Sequence[DueDelivery]) -> None:
        """Query again later; send again what the last of the queries did not find."""
        lost = [item for item in missing if item.proof_tries + 1 >= _MAX_QUERIES]
        self._retry_later([item for item in missing if item not in lost], "not found there yet")
        if not lost:
            return
        why = f"answered with success, but not found after {_MAX_QUERIES} looks"
        self._log("delivery_lost", lost, why)
        with self._engine.begin() as connection:
            proof.record_lost(
                connection,
                lost,
                why,
                max_resends=self._limits.max_resends,
                retry_in_s=self._limits.retry_s,
            )

    def postpone(self, objects: Sequence[DueDelivery], why: str) -> None:
        """Retry the proof later because the destination is not available; end it after ``max_attempts``."""
        given_up = [item for item in objects if item.proof_tries + 1 >= self._limits.max_attempts]
        self._retry_later([item for item in objects if item not in given_up], why)
        if given_up:
            self._log("delivery_unproven", given_up, why)
            with self._engine.begin() as connection:
                proof.record_unproven(connection, self._right, given_up, f"no proof: {why}", alarm=True)

    def _retry_later(self, objects: Sequence[DueDelivery], why: str) -> None:
        limits = self._limits
        with self._engine.begin() as connection:
            for item in objects:
                in_s = retry_delay_s(
                    item.proof_tries + 1, first_s=limits.retry_s, longest_s=limits.retry_max_s
                )
                proof.postpone(connection, self._right, [item], why, in_s=in_s)

    def _log(self, event: str, objects: Sequence[DueDelivery], why: str) -> None:
        log.warning(event, destination=self._right.destination, objects=len(objects), why=why)
