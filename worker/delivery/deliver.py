"""Drain what is due at one destination: send it, then see to its proof."""

import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import groupby
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from db import deliveries, proof
from db.deliveries import DueDelivery, SendingRight
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Destination, Settings
from neurotriage.core.states import DeliveryState
from worker.delivery import dicomweb, dimse
from worker.delivery.address import destination_of
from worker.delivery.client import ArchiveClient, Connect, Misconfigured, NotServed
from worker.delivery.prove import Prover
from worker.delivery.query import Queries
from worker.delivery.right import LEASE_S, RightKeeper, RightLost
from worker.delivery.status import PROCESSING_FAILURES, StoreResult, retry_delay_s

log = structlog.get_logger()

_CONNECT: Final[dict[str, Connect]] = {"dimse": dimse.connect, "dicomweb": dicomweb.connect}
# Associations in a row that end early and store nothing: the destination is not well, not one object.
_FRUITLESS: Final = 3


def deliver(engine: Engine, settings: Settings, address: str, *, owner: str) -> int:
    """Send everything that is due at a destination, and prove what is stored; the number of objects stored.

    ``address`` as ``address_of`` made it. One association per study. Does nothing where another process
    holds the destination, or where the configuration does not know it.
    """
    try:
        destination: Destination | Misconfigured | None = destination_of(settings, address)
    except Misconfigured as error:
        destination = error
    if destination is None:
        log.warning("destination_unknown", destination=address)
        return 0
    with engine.begin() as connection:
        right = deliveries.take_destination(connection, address, owner=owner, lease_s=LEASE_S)
    if right is None:
        return 0
    keeper = RightKeeper(engine, right)
    sender = Sender(engine, settings, right, keeper.keep)
    try:
        with keeper:
            sender.drain(destination)
    except RightLost:
        log.warning("destination_lost", destination=address)
    finally:
        with engine.begin() as connection:
            deliveries.release(connection, right)
    return sender.stored


class Sender:
    """Sends under one right to one destination. ``keep_right`` raises ``RightLost``."""

    def __init__(
        self, engine: Engine, settings: Settings, right: SendingRight, keep_right: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._right = right
        self._keep_right = keep_right
        self._queries = Queries(engine, right)
        self._prover = Prover(engine, settings.delivery, right, self._queries)
        self._fruitless = 0
        self._begun: set[int] = set()
        self._urgent: list[DueDelivery] = []
        self.stored = 0

    def drain(self, destination: Destination | Misconfigured) -> None:
        """Send and prove study by study until nothing is due. What must wait is due later, so this ends."""
        while due := self._ask(deliveries.due):
            self._send_all(destination, due)
        while unproven := self._ask(proof.due):
            for _, objects in groupby(unproven, key=lambda delivery: delivery.revision_id):
                self._prove_study(destination, list(objects))

    def _send_all(self, destination: Destination | Misconfigured, due: Sequence[DueDelivery]) -> None:
        """Send what is due; where nobody answers, none of it is worth another connection now."""
        self._begun, self._urgent = set(), []
        try:
            if isinstance(destination, Misconfigured):
                raise destination
            for _, objects in groupby(due, key=lambda delivery: delivery.revision_id):
                self._send_study(destination, list(objects))
        except Unavailable as unavailable:
            waits = _waits(unavailable)
            for delivery in due:
                if delivery.id not in self._begun and self._begin(delivery):
                    self._settle(delivery, waits)
        self._alarm(self._urgent, after_s=0.0)
        self._alarm(due, after_s=self._settings.delivery.alarm_after_s)

    def _send_study(self, destination: Destination, objects: list[DueDelivery]) -> None:
        """One association. What is left where it ends early is still due, and gets the next one at once.

        That ends: each association settles an object, and not many in a row may end early without storing.
        """
        before = self.stored
        with self._connect(destination, [delivery.sop_class_uid for delivery in objects]) as peer:
            for delivery in self._not_there(peer, objects):
                if peer.ended:
                    break
                self._begun.add(delivery.id)
                if self._begin(delivery):
                    self._send(destination, peer, delivery, progress=self.stored > before)
            if not peer.ended:
                with self._engine.begin() as connection:
                    revision_id = objects[0].revision_id
                    stored = proof.due(connection, self._right.destination, revision_id=revision_id)
                self._prover.prove(peer, stored)
            self._fruitless = 0 if self.stored > before or not peer.ended else self._fruitless + 1
        if self._fruitless >= _FRUITLESS:
            self._fruitless = 0
            raise Unavailable(f"the destination ended {_FRUITLESS} associations without storing an object")

    def _not_there(self, peer: ArchiveClient, objects: Sequence[DueDelivery]) -> list[DueDelivery]:
        """What has to be sent: of what was sent before, only what a query does not find."""
        tried = [delivery for delivery in objects if delivery.tried]
        try:
            present = self._queries.look(peer, tried) if tried else frozenset()
        except (NotServed, Unavailable):
            return list(objects)
        there = [delivery for delivery in tried if delivery.sop_instance_uid in present]
        for delivery in there:
            self._begun.add(delivery.id)
            self._settle_found(delivery, "stored; found by query before it was sent again")
        return [delivery for delivery in objects if delivery not in there]

    def _send(
        self, destination: Destination, peer: ArchiveClient, delivery: DueDelivery, *, progress: bool
    ) -> None:
        try:
            verdict = peer.store(self._settings.storage.root / delivery.path, delivery)
        except Unavailable as unavailable:
            self._settle(delivery, _waits(unavailable))
            raise
        except (MemoryError, OSError) as error:
            why = f"this host is short of something ({type(error).__name__})"
            verdict = StoreResult(DeliveryState.WAITING, why)
        except Exception as error:  # noqa: BLE001 - one object must not end the sending of all others
            # The text of an error may hold a header's values; where it was raised does not.
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("store_failed", delivery=delivery.id, kind=type(error).__name__, place=place)
            why = f"our software failed on this object ({type(error).__name__})"
            verdict = StoreResult(DeliveryState.REFUSED, why)
        else:
            verdict = self._checked(destination, peer, delivery, verdict)
        if verdict.found:
            self._settle_found(delivery, verdict.text)
            return
        prove = (destination.commitment, destination.find) != ("off", "off")
        self._settle(delivery, verdict, prove=prove, at_once=progress and peer.ended)

    def _checked(
        self, destination: Destination, peer: ArchiveClient, delivery: DueDelivery, verdict: StoreResult
    ) -> StoreResult:
        """The verdict; where in doubt, or before it ends unsent, after a query for the object."""
        if delivery.resends and verdict.state is DeliveryState.WAITING and not peer.ended:
            # It was answered with success once, so what is said of it now is not said for days.
            verdict = replace(verdict, most_failures=PROCESSING_FAILURES)
        ends = self._outcome(delivery, verdict)[0] in (DeliveryState.REFUSED, DeliveryState.GIVEN_UP)
        if not verdict.doubtful and not (ends and delivery.tried):
            return verdict
        try:
            if peer.ended:
                with self._connect(destination, []) as another:
                    present = self._queries.look(another, [delivery])
            else:
                present = self._queries.look(peer, [delivery])
        except (NotServed, Unavailable):
            stored = verdict.state is DeliveryState.STORED
            return replace(verdict, state=DeliveryState.WAITING) if stored else verdict
        if delivery.sop_instance_uid not in present:
            return verdict
        return StoreResult(DeliveryState.STORED, f"stored; found by query ({verdict.text})", found=True)

    def _prove_study(self, destination: Destination | Misconfigured, objects: list[DueDelivery]) -> None:
        self._keep_right()
        try:
            if isinstance(destination, Misconfigured):
                raise destination
            asked = destination.commitment == "off" or all(item.commitment_uid for item in objects)
            if asked and self._queries.are_silent():
                self._prover.not_answered(objects, "it leaves queries unanswered")
                return
            with self._connect(destination, []) as peer:
                self._prover.prove(peer, objects)
        except Unavailable as unavailable:
            self._prover.put_off(objects, str(unavailable))

    def _connect(self, destination: Destination, classes: list[str]) -> AbstractContextManager[ArchiveClient]:
        return _CONNECT[destination.type](destination, self._settings.listener.ae_title, classes)

    def _ask(self, question: Callable[[Connection, str], list[DueDelivery]]) -> list[DueDelivery]:
        with self._engine.begin() as connection:
            return question(connection, self._right.destination)

    def _begin(self, delivery: DueDelivery) -> bool:
        """Keep the right, and mark the object; False where its delivery was cancelled."""
        self._keep_right()
        with self._engine.begin() as connection:
            return deliveries.begin(connection, self._right, delivery.id)

    def _outcome(self, delivery: DueDelivery, verdict: StoreResult) -> tuple[DeliveryState, str]:
        """The state in which a delivery is left, and why: even waiting has an end."""
        attempts, failures = delivery.attempts + 1, delivery.failures + (verdict.most_failures is not None)
        if verdict.state is not DeliveryState.WAITING or (
            attempts < self._settings.delivery.max_attempts
            and failures < (verdict.most_failures or failures + 1)
        ):
            return verdict.state, verdict.text
        before = "it was answered with success before; " if delivery.resends else ""
        return DeliveryState.GIVEN_UP, f"given up after {attempts} tries; {before}last: {verdict.text}"

    def _settle(
        self, delivery: DueDelivery, verdict: StoreResult, *, prove: bool = False, at_once: bool = False
    ) -> None:
        limits = self._settings.delivery
        state, text = self._outcome(delivery, verdict)
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
                failures=delivery.failures + (verdict.most_failures is not None),
                comment=verdict.comment,
            ):
                raise RightLost
        self._tell(delivery, state, text)
        if verdict.alarm:
            self._urgent.append(delivery)

    def _settle_found(self, delivery: DueDelivery, text: str) -> None:
        """It is there: stored, with its proof."""
        self._keep_right()
        with self._engine.begin() as connection:
            stored = DeliveryState.STORED
            if not deliveries.settle(
                connection, self._right, delivery, stored, text, failures=delivery.failures
            ):
                raise RightLost
            proof.found(connection, self._right, [delivery])
        self._tell(delivery, DeliveryState.STORED, text)

    def _tell(self, delivery: DueDelivery, state: DeliveryState, text: str) -> None:
        self.stored += state is DeliveryState.STORED
        log.info(
            "delivery", delivery=delivery.id, destination=self._right.destination, state=state, status=text
        )

    def _alarm(self, due: Sequence[DueDelivery], *, after_s: float) -> None:
        """Raise the alarm for what waits for too long, and tell it once a cause."""
        destination = self._right.destination
        with self._engine.begin() as connection:
            alarms = deliveries.alarm(connection, destination, due, after_s=after_s)
        for alarm in alarms:
            told = log.warning if alarm.fresh else log.info
            told("delivery_alarm", destination=destination, objects=alarm.objects, status=alarm.status)


def _waits(unavailable: Unavailable) -> StoreResult:
    return StoreResult(DeliveryState.WAITING, str(unavailable), alarm=isinstance(unavailable, Misconfigured))
