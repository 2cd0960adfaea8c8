"""See to it that what a destination answered with success is there: commitment first, else a query.

Objects that are not found are looked for again, then sent again; both end.
"""

from collections.abc import Sequence
from typing import Final

import structlog
from sqlalchemy import Engine

from db import proof
from db.deliveries import DueDelivery, SendingRight
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import DeliverySettings
from neurotriage.dicom.uids import random_uid
from worker.delivery.client import ArchiveClient, NotServed, Unanswered
from worker.delivery.dimse import NO_QUERY
from worker.delivery.query import SILENCE_S, Queries
from worker.delivery.status import retry_delay_s

log = structlog.get_logger()

# An archive may need a while until it shows what it stored; then the object is taken to be lost.
_LOOKS: Final = 4


class Prover:
    """Proves what is stored at one destination, under its right."""

    def __init__(
        self, engine: Engine, limits: DeliverySettings, right: SendingRight, queries: Queries
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._right = right
        self._queries = queries

    def prove(self, peer: ArchiveClient, objects: Sequence[DueDelivery]) -> None:
        """Ask for storage commitment once; look for what it was asked for in vain, or cannot be asked for."""
        fresh = [item for item in objects if item.commitment_uid is None] if peer.commits else []
        if fresh:
            self._ask(peer, fresh)
        rest = [item for item in objects if item not in fresh]
        if rest:
            self._look(peer, rest)

    def _ask(self, peer: ArchiveClient, objects: Sequence[DueDelivery]) -> None:
        transaction_uid = random_uid()
        with self._engine.begin() as connection:
            wait_s = self._limits.commitment_wait_s
            if not proof.ask(
                connection,
                self._right,
                objects,
                transaction_uid,
                ae_title=peer.ae_title,
                wait_s=wait_s,
            ):
                return
        try:
            report = peer.commit(transaction_uid, objects)
        except Unavailable as refused:
            self._log("commitment_refused", objects, str(refused))
            self._look(peer, objects)
            return
        if report is not None and report.transaction_uid == transaction_uid:
            with self._engine.begin() as connection:
                proof.record_report(
                    connection,
                    report,
                    ae_title=peer.ae_title,
                    max_resends=self._limits.max_resends,
                    retry_in_s=self._limits.retry_s,
                )

    def _look(self, peer: ArchiveClient, objects: Sequence[DueDelivery]) -> None:
        try:
            present = self._queries.look(peer, objects)
        except NotServed as not_served:
            self._nothing_to_ask(objects, str(not_served))
        except Unanswered as unanswered:
            self.not_answered(objects, str(unanswered))
        except Unavailable as unavailable:
            self.put_off(objects, str(unavailable))
        else:
            found = [item for item in objects if item.sop_instance_uid in present]
            with self._engine.begin() as connection:
                proof.found(connection, self._right, found)
            self._miss([item for item in objects if item.sop_instance_uid not in present])

    def _nothing_to_ask(self, objects: Sequence[DueDelivery], why: str) -> None:
        """No query can be made. Commitment that was promised and never came is an alarm, the rest is none."""
        promised = [item for item in objects if item.commitment_uid is not None]
        silent = [item for item in objects if item.commitment_uid is None]
        offered = f"no storage commitment, and {why}"
        if why == NO_QUERY:
            offered = "the destination offers neither storage commitment nor query"
        with self._engine.begin() as connection:
            proof.no_proof(connection, self._right, silent, f"no proof: {offered}", alarm=False)
            never = f"no proof: storage commitment was never answered, and {why}"
            proof.no_proof(connection, self._right, promised, never, alarm=True)
        if promised:
            self._log("delivery_unproven", promised, never)

    def not_answered(self, objects: Sequence[DueDelivery], why: str) -> None:
        """Ask again when the destination is asked again, a few times."""
        last = [item for item in objects if item.proof_tries + 1 >= _LOOKS]
        rest = [item for item in objects if item not in last]
        if last:
            self._nothing_to_ask(last, why)
        with self._engine.begin() as connection:
            proof.put_off(connection, self._right, rest, why, in_s=SILENCE_S)

    def _miss(self, missing: Sequence[DueDelivery]) -> None:
        """Look again, or send again what was looked for often enough."""
        lost = [item for item in missing if item.proof_tries + 1 >= _LOOKS]
        self._later([item for item in missing if item not in lost], "not found there yet")
        if not lost:
            return
        why = f"answered with success, but not found after {_LOOKS} looks"
        self._log("delivery_lost", lost, why)
        with self._engine.begin() as connection:
            proof.lost(
                connection,
                lost,
                why,
                max_resends=self._limits.max_resends,
                retry_in_s=self._limits.retry_s,
            )

    def put_off(self, objects: Sequence[DueDelivery], why: str) -> None:
        """Nobody answers: look again later, as long as tries are left."""
        given_up = [item for item in objects if item.proof_tries + 1 >= self._limits.max_attempts]
        self._later([item for item in objects if item not in given_up], why)
        if given_up:
            self._log("delivery_unproven", given_up, why)
            with self._engine.begin() as connection:
                proof.no_proof(connection, self._right, given_up, f"no proof: {why}", alarm=True)

    def _later(self, objects: Sequence[DueDelivery], why: str) -> None:
        limits = self._limits
        with self._engine.begin() as connection:
            for item in objects:
                in_s = retry_delay_s(
                    item.proof_tries + 1, first_s=limits.retry_s, longest_s=limits.retry_max_s
                )
                proof.put_off(connection, self._right, [item], why, in_s=in_s)

    def _log(self, event: str, objects: Sequence[DueDelivery], why: str) -> None:
        log.warning(event, destination=self._right.destination, objects=len(objects), why=why)
