"""Sends everything that is due at one destination, then proves what is stored there."""

import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import groupby
from typing import Final

import structlog
from sqlalchemy import Engine

from db.delivery import deliveries, destinations, proof
from db.delivery.deliveries import DueDelivery
from db.delivery.destinations import SendingRight
from neurotriage.core.errors import Unavailable
from neurotriage.core.retries import retry_delay_s
from neurotriage.core.settings import Destination, Settings
from neurotriage.core.states import DeliveryState
from worker.delivery import dicomweb, dimse
from worker.delivery.address import destination_of
from worker.delivery.client import ArchiveClient, Connect, Misconfigured, NotServed
from worker.delivery.prove import Prover
from worker.delivery.query import Queries
from worker.delivery.right import LEASE_S, RightLost, SendingRightKeeper
from worker.delivery.status import PROCESSING_FAILURES, StoreResult
from worker.delivery.turns import Turns

log = structlog.get_logger()

_CONNECT: Final[dict[str, Connect]] = {"dimse": dimse.connect, "dicomweb": dicomweb.connect}
# So many associations in a row that end early without storing: the destination is at fault, not an object.
_MAX_FAILED_ASSOCIATIONS: Final = 3


def deliver(engine: Engine, settings: Settings, address: str, *, owner: str) -> int:
    """Send everything that is due at a destination and prove what is stored; the number of objects stored.

    ``address`` as ``address_of`` made it; ``owner`` names this process in the lease. One association per
    study. Does nothing where another process holds the destination, or the configuration does not know it.
    """
    try:
        destination: Destination | Misconfigured | None = destination_of(settings, address)
    except Misconfigured as error:
        destination = error
    if destination is None:
        log.warning("destination_unknown", destination=address)
        return 0
    with engine.begin() as connection:
        right = destinations.take(connection, address, owner=owner, lease_s=LEASE_S)
    if right is None:
        return 0
    keeper = SendingRightKeeper(engine, right)
    sender = DestinationSender(engine, settings, right, keeper.keep)
    try:
        with keeper:
            sender.drain(destination)
    except RightLost:
        log.warning("sending_right_lost", destination=address)
    finally:
        with engine.begin() as connection:
            destinations.release(connection, right)
    return sender.stored


class DestinationSender:
    """Sends to one destination under its sending right. ``keep_right`` renews it or raises ``RightLost``."""

    def __init__(
        self, engine: Engine, settings: Settings, right: SendingRight, keep_right: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._right = right
        self._keep_right = keep_right
        self._queries = Queries(engine, right)
        self._prover = Prover(engine, settings.delivery, right, self._queries)
        self._turns = Turns(engine, right.destination)
        self._failed_associations = 0
        self._attempted: set[int] = set()  # ids of the deliveries begun in this pass
        self._urgent: list[DueDelivery] = []
        self.stored = 0

    def drain(self, destination: Destination | Misconfigured) -> None:
        """Send and prove study by study until nothing is due; what is retried is due later, so this ends."""
        while True:
            if due := self._turns.due():
                self._send_all(destination, due)
            elif unproven := self._turns.unproven():
                self._prove_study(destination, unproven)
            else:
                return

    def _send_all(self, destination: Destination | Misconfigured, due: list[DueDelivery]) -> None:
        """Send until it is another study's turn. Where the destination goes away, the rest waits."""
        self._attempted, self._urgent = set(), []
        sent: list[DueDelivery] = []
        try:
            if isinstance(destination, Misconfigured):
                raise destination
            for _, group in groupby(due, key=lambda delivery: delivery.revision_id):
                objects = list(group)
                if sent and self._turns.passed_to_another(objects[0]):
                    due = sent
                    break
                sent += objects
                self._send_study(destination, objects)
                self._turns.ended()
        except Unavailable as unavailable:
            waiting = _waiting(unavailable)
            for delivery in due:
                if delivery.id not in self._attempted and self._begin(delivery):
                    self._settle(delivery, waiting)
        self._alarm(self._urgent, after_s=0.0)
        self._alarm(due, after_s=self._settings.delivery.alarm_after_s)

    def _send_study(self, destination: Destination, objects: list[DueDelivery]) -> None:
        """Send the objects of a study over one association; if it ends early, the rest is still due.

        The next pass opens another at once. This ends, because each association settles an object and only
        a few in a row may end early without storing one.
        """
        before = self.stored
        with self._connect(destination, [delivery.sop_class_uid for delivery in objects]) as client:
            for delivery in self._to_send(client, objects):
                if client.ended:
                    break
                self._attempted.add(delivery.id)
                if self._begin(delivery):
                    self._send(destination, client, delivery, progress=self.stored > before)
            if not client.ended:
                with self._engine.begin() as connection:
                    revision_id = objects[0].revision_id
                    stored = proof.due(connection, self._right.destination, revision_id=revision_id)
                self._prover.prove(client, stored)
            failed = client.ended and self.stored == before
            self._failed_associations = self._failed_associations + 1 if failed else 0
        if self._failed_associations >= _MAX_FAILED_ASSOCIATIONS:
            self._failed_associations = 0
            raise Unavailable(
                f"the destination ended {_MAX_FAILED_ASSOCIATIONS} associations without storing an object"
            )

    def _to_send(self, client: ArchiveClient, objects: Sequence[DueDelivery]) -> list[DueDelivery]:
        """The objects to send; one sent before only where a query does not find it."""
        tried = [delivery for delivery in objects if delivery.tried]
        try:
            present = self._queries.present(client, tried) if tried else frozenset()
        except (NotServed, Unavailable):
            return list(objects)
        stored = [delivery for delivery in tried if delivery.sop_instance_uid in present]
        for delivery in stored:
            self._attempted.add(delivery.id)
            self._settle_found(delivery, "stored; found by query before it was sent again")
        return [delivery for delivery in objects if delivery not in stored]

    def _send(
        self, destination: Destination, client: ArchiveClient, delivery: DueDelivery, *, progress: bool
    ) -> None:
        try:
            result = client.store(self._settings.storage.root / delivery.path, delivery)
        except Unavailable as unavailable:
            self._settle(delivery, _waiting(unavailable))
            raise
        except (MemoryError, OSError) as error:
            why = f"this host is short of something ({type(error).__name__})"
            result = StoreResult(DeliveryState.WAITING, why)
        except Exception as error:  # noqa: BLE001 - a failure on one object must not stop the others
            # An error's text may quote patient data; its stack does not.
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("store_failed", delivery=delivery.id, kind=type(error).__name__, place=place)
            why = f"our software failed on this object ({type(error).__name__})"
            result = StoreResult(DeliveryState.REFUSED, why)
        else:
            result = self._confirmed(destination, client, delivery, result)
        if result.found_by_query:
            self._settle_found(delivery, result.text)
            return
        prove = (destination.commitment, destination.find) != ("off", "off")
        self._settle(delivery, result, prove=prove, at_once=progress and client.ended)

    def _confirmed(
        self, destination: Destination, client: ArchiveClient, delivery: DueDelivery, result: StoreResult
    ) -> StoreResult:
        """The result of a store; after a query where it is doubtful, or would end a retried delivery."""
        if delivery.resends and result.state is DeliveryState.WAITING and not client.ended:
            # It was stored once, so a failure now is about the object: it is not retried for days.
            result = replace(result, max_failures=PROCESSING_FAILURES)
        ends = self._outcome(delivery, result)[0] in (DeliveryState.REFUSED, DeliveryState.GIVEN_UP)
        if not result.doubtful and not (ends and delivery.tried):
            return result
        try:
            if client.ended:
                with self._connect(destination, []) as another:
                    present = self._queries.present(another, [delivery])
            else:
                present = self._queries.present(client, [delivery])
        except (NotServed, Unavailable):
            stored = result.state is DeliveryState.STORED
            return replace(result, state=DeliveryState.WAITING) if stored else result
        if delivery.sop_instance_uid not in present:
            return result
        return StoreResult(
            DeliveryState.STORED, f"stored; found by query ({result.text})", found_by_query=True
        )

    def _prove_study(self, destination: Destination | Misconfigured, objects: list[DueDelivery]) -> None:
        self._keep_right()
        try:
            if isinstance(destination, Misconfigured):
                raise destination
            only_queries_left = destination.commitment == "off" or all(
                item.commitment_uid for item in objects
            )
            if only_queries_left and self._queries.paused():
                self._prover.query_unanswered(objects, "it leaves queries unanswered")
                return
            with self._connect(destination, []) as client:
                self._prover.prove(client, objects)
        except Unavailable as unavailable:
            self._prover.postpone(objects, str(unavailable))

    def _connect(self, destination: Destination, classes: list[str]) -> AbstractContextManager[ArchiveClient]:
        return _CONNECT[destination.type](destination, self._settings.listener.ae_title, classes)

    def _begin(self, delivery: DueDelivery) -> bool:
        """Renew the right and record the attempt; False where the delivery was cancelled."""
        self._keep_right()
        with self._engine.begin() as connection:
            return deliveries.begin(connection, self._right, delivery.id)

    def _outcome(self, delivery: DueDelivery, result: StoreResult) -> tuple[DeliveryState, str]:
        """The next state of a delivery and the sentence for it: a delivery is not retried for ever."""
        attempts, failures = delivery.attempts + 1, delivery.failures + (result.max_failures is not None)
        if result.state is not DeliveryState.WAITING or (
            attempts < self._settings.delivery.max_attempts
            and failures < (result.max_failures or failures + 1)
        ):
            return result.state, result.text
        before = "it was answered with success before; " if delivery.resends else ""
        return DeliveryState.GIVEN_UP, f"given up after {attempts} tries; {before}last: {result.text}"

    def _settle(
        self, delivery: DueDelivery, result: StoreResult, *, prove: bool = False, at_once: bool = False
    ) -> None:
        limits = self._settings.delivery
        state, text = self._outcome(delivery, result)
        delay_s = retry_delay_s(delivery.attempts + 1, first_s=limits.retry_s, longest_s=limits.retry_max_s)
        with self._engine.begin() as connection:
            if not deliveries.settle(
                connection,
                self._right,
                delivery,
                state,
                text,
                retry_in_s=0.0 if at_once else delay_s,
                prove=prove,
                failures=delivery.failures + (result.max_failures is not None),
                comment=result.comment,
            ):
                raise RightLost
        self._log_settled(delivery, state, text)
        if result.alarm:
            self._urgent.append(delivery)

    def _settle_found(self, delivery: DueDelivery, text: str) -> None:
        """Record an object that a query found: stored, and proven."""
        self._keep_right()
        with self._engine.begin() as connection:
            stored = DeliveryState.STORED
            if not deliveries.settle(
                connection, self._right, delivery, stored, text, failures=delivery.failures
            ):
                raise RightLost
            proof.record_found(connection, self._right, [delivery])
        self._log_settled(delivery, DeliveryState.STORED, text)

    def _log_settled(self, delivery: DueDelivery, state: DeliveryState, text: str) -> None:
        self.stored += state is DeliveryState.STORED
        log.info(
            "delivery_settled",
            delivery=delivery.id,
            destination=self._right.destination,
            state=state,
            status=text,
        )

    def _alarm(self, due: Sequence[DueDelivery], *, after_s: float) -> None:
        """Raise the alarm for deliveries that wait for too long; a warning in the log once per cause."""
        destination = self._right.destination
        with self._engine.begin() as connection:
            alarms = deliveries.alarm(connection, destination, due, after_s=after_s)
        for alarm in alarms:
            write = log.warning if alarm.fresh else log.info
            write("delivery_alarm", destination=destination, objects=alarm.objects, status=alarm.status)


def _waiting(unavailable: Unavailable) -> StoreResult:
    return StoreResult(DeliveryState.WAITING, str(unavailable), alarm=isinstance(unavailable, Misconfigured))
