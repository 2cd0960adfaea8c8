"""Drain what is due at one destination."""

from itertools import groupby
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Engine

from db import ledger
from db.ledger import DueDelivery, SendingRight
from db.tables import DeliveryState
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Destination, Settings
from worker.delivery.dimse import association_with, send
from worker.delivery.status import Verdict, retry_delay_s

log = structlog.get_logger()

# Above the longest wait for one object (connect + answer), so that a live sender never loses its lease.
_LEASE_S: Final = 180.0


class RightLost(Exception):
    """Another process sends to this destination now."""


def deliver(engine: Engine, settings: Settings, destination_name: str, *, owner: str) -> int:
    """Send everything that is due at a destination; the number of objects stored.

    One association per study. Does nothing where another process holds the destination, or where the
    configuration does not know it.
    """
    destination = next((d for d in settings.destination if d.name == destination_name), None)
    if destination is None:
        log.warning("destination_unknown", destination=destination_name)
        return 0
    with engine.begin() as connection:
        right = ledger.take_destination(connection, destination.name, owner=owner, lease_s=_LEASE_S)
    if right is None:
        return 0
    sender = Sender(engine, settings, destination, right)
    try:
        return sender.drain()
    except RightLost:
        log.warning("destination_lost", destination=destination.name)
        return sender.stored
    finally:
        with engine.begin() as connection:
            ledger.release(connection, right)


class Sender:
    """Sends under one right to one destination."""

    def __init__(
        self, engine: Engine, settings: Settings, destination: Destination, right: SendingRight
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._destination = destination
        self._right = right
        self.stored = 0

    def drain(self) -> int:
        """Send study by study until nothing is due. What must wait is due later, so this ends."""
        while True:
            with self._engine.begin() as connection:
                due = ledger.due(connection, self._destination.name)
            if not due:
                return self.stored
            for _, objects in groupby(due, key=lambda delivery: delivery.revision_id):
                self._send_study(list(objects))

    def _send_study(self, objects: list[DueDelivery]) -> None:
        classes = [delivery.sop_class_uid for delivery in objects]
        begun: list[DueDelivery] = []
        try:
            with association_with(self._destination, self._settings.listener.ae_title, classes) as peer:
                for delivery in objects:
                    if not self._begin(delivery):
                        continue
                    begun.append(delivery)
                    verdict = send(peer, self._path(delivery), delivery)
                    self._settle(delivery, verdict)
        except Unavailable as unavailable:
            waits = Verdict(DeliveryState.WAITING, str(unavailable))
            for delivery in objects:
                if delivery not in begun and self._begin(delivery):
                    self._settle(delivery, waits)

    def _path(self, delivery: DueDelivery) -> Path:
        return self._settings.storage.root / delivery.path

    def _begin(self, delivery: DueDelivery) -> bool:
        """Keep the right, and mark the object; False where its delivery was cancelled."""
        with self._engine.begin() as connection:
            if not ledger.renew(connection, self._right, lease_s=_LEASE_S):
                raise RightLost
            return ledger.begin(connection, self._right, delivery.id)

    def _settle(self, delivery: DueDelivery, verdict: Verdict) -> None:
        limits = self._settings.delivery
        attempts = delivery.attempts + 1
        state, text = verdict.state, verdict.text
        if state is DeliveryState.WAITING and attempts >= limits.max_attempts:
            state, text = DeliveryState.GIVEN_UP, f"given up after {attempts} tries; last: {text}"
        delay_s = retry_delay_s(attempts, first_s=limits.retry_s, longest_s=limits.retry_max_s)
        with self._engine.begin() as connection:
            if not ledger.settle(connection, self._right, delivery, state, text, retry_in_s=delay_s):
                raise RightLost
        self.stored += state is DeliveryState.STORED
        log.info(
            "delivery",
            delivery=delivery.id,
            destination=self._destination.name,
            state=state,
            status=text,
        )
