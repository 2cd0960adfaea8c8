"""Drain what is due at one destination: send it, then see to its proof."""

import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from db import ledger, proof
from db.ledger import DueDelivery, SendingRight
from db.tables import DeliveryState
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Destination, Settings
from worker.delivery import dicomweb, dimse
from worker.delivery.address import destination_of
from worker.delivery.peer import Connect, Misconfigured, Peer
from worker.delivery.prove import Prover
from worker.delivery.status import Verdict, retry_delay_s

log = structlog.get_logger()

# Above the longest wait for one object (connect + answer), so that a live sender never loses its lease.
_LEASE_S: Final = 180.0
_CONNECT: Final[dict[str, Connect]] = {"dimse": dimse.connect, "dicomweb": dicomweb.connect}


class RightLost(Exception):
    """Another process sends to this destination now."""


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
        right = ledger.take_destination(connection, address, owner=owner, lease_s=_LEASE_S)
    if right is None:
        return 0
    sender = Sender(engine, settings, right)
    try:
        sender.drain(destination)
    except RightLost:
        log.warning("destination_lost", destination=address)
    finally:
        with engine.begin() as connection:
            ledger.release(connection, right)
    return sender.stored


class Sender:
    """Sends under one right to one destination."""

    def __init__(self, engine: Engine, settings: Settings, right: SendingRight) -> None:
        self._engine = engine
        self._settings = settings
        self._right = right
        self._prover = Prover(engine, settings.delivery, right)
        self.stored = 0

    def drain(self, destination: Destination | Misconfigured) -> None:
        """Send and prove study by study until nothing is due. What must wait is due later, so this ends."""
        while due := self._ask(ledger.due):
            self._send_all(destination, due)
        while unproven := self._ask(proof.due):
            for _, objects in groupby(unproven, key=lambda delivery: delivery.revision_id):
                self._prove_study(destination, list(objects))

    def _send_all(self, destination: Destination | Misconfigured, due: Sequence[DueDelivery]) -> None:
        """Send what is due; where nobody answers, none of it is worth another connection now."""
        begun: set[int] = set()
        try:
            if isinstance(destination, Misconfigured):
                raise destination
            for revision_id, objects in groupby(due, key=lambda delivery: delivery.revision_id):
                self._send_study(destination, revision_id, list(objects), begun)
        except Unavailable as unavailable:
            waits = _waits(unavailable)
            for delivery in due:
                if delivery.id not in begun and self._begin(delivery):
                    self._settle(delivery, waits)

    def _send_study(
        self, destination: Destination, revision_id: int, objects: list[DueDelivery], begun: set[int]
    ) -> None:
        classes = [delivery.sop_class_uid for delivery in objects]
        with self._connect(destination, classes) as peer:
            for delivery in objects:
                begun.add(delivery.id)
                if self._begin(delivery):
                    self._send(destination, peer, delivery)
            with self._engine.begin() as connection:
                stored = proof.due(connection, self._right.destination, revision_id=revision_id)
            self._prover.prove(peer, stored)

    def _send(self, destination: Destination, peer: Peer, delivery: DueDelivery) -> None:
        prove = (destination.commitment, destination.find) != ("off", "off")
        try:
            verdict = peer.store(self._settings.storage.root / delivery.path, delivery)
        except Unavailable as unavailable:
            self._settle(delivery, _waits(unavailable))
            raise
        except (MemoryError, OSError) as error:
            why = f"this host is short of something ({type(error).__name__})"
            verdict = Verdict(DeliveryState.WAITING, why)
        except Exception as error:  # noqa: BLE001 - one object must not end the sending of all others
            # The text of an error may hold a header's values; where it was raised does not.
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("store_failed", delivery=delivery.id, kind=type(error).__name__, place=place)
            why = f"our software failed on this object ({type(error).__name__})"
            verdict = Verdict(DeliveryState.REFUSED, why)
        self._settle(delivery, verdict, prove=prove)

    def _prove_study(self, destination: Destination | Misconfigured, objects: list[DueDelivery]) -> None:
        self._keep_right()
        try:
            if isinstance(destination, Misconfigured):
                raise destination
            with self._connect(destination, []) as peer:
                self._prover.prove(peer, objects)
        except Unavailable as unavailable:
            self._prover.put_off(objects, str(unavailable))

    def _connect(self, destination: Destination, classes: list[str]) -> AbstractContextManager[Peer]:
        return _CONNECT[destination.type](destination, self._settings.listener.ae_title, classes)

    def _ask(self, question: Callable[[Connection, str], list[DueDelivery]]) -> list[DueDelivery]:
        with self._engine.begin() as connection:
            return question(connection, self._right.destination)

    def _keep_right(self) -> None:
        with self._engine.begin() as connection:
            if not ledger.renew(connection, self._right, lease_s=_LEASE_S):
                raise RightLost

    def _begin(self, delivery: DueDelivery) -> bool:
        """Keep the right, and mark the object; False where its delivery was cancelled."""
        self._keep_right()
        with self._engine.begin() as connection:
            return ledger.begin(connection, self._right, delivery.id)

    def _settle(self, delivery: DueDelivery, verdict: Verdict, *, prove: bool = False) -> None:
        limits = self._settings.delivery
        attempts = delivery.attempts + 1
        failures = delivery.failures + (verdict.most_failures is not None)
        state, text = verdict.state, verdict.text
        if state is DeliveryState.WAITING and (
            attempts >= limits.max_attempts or failures >= (verdict.most_failures or failures + 1)
        ):
            state, text = DeliveryState.GIVEN_UP, f"given up after {attempts} tries; last: {text}"
        delay_s = retry_delay_s(attempts, first_s=limits.retry_s, longest_s=limits.retry_max_s)
        with self._engine.begin() as connection:
            if not ledger.settle(
                connection,
                self._right,
                delivery,
                state,
                text,
                retry_in_s=delay_s,
                prove=prove,
                failures=failures,
            ):
                raise RightLost
            after_s = 0.0 if verdict.alarm else limits.alarm_after_s
            alarm = ledger.alarm(connection, delivery, self._right.destination, after_s=after_s)
        self.stored += state is DeliveryState.STORED
        told = log.warning if alarm else log.info
        told(
            "delivery_alarm" if alarm else "delivery",
            delivery=delivery.id,
            destination=self._right.destination,
            state=state,
            status=text,
        )


def _waits(unavailable: Unavailable) -> Verdict:
    return Verdict(DeliveryState.WAITING, str(unavailable), alarm=isinstance(unavailable, Misconfigured))
