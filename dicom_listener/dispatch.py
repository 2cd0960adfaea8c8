"""Rings the doorbell for rows that wait, and again when a message was lost. The rows are the truth."""

from dataclasses import dataclass
from typing import Final

import structlog
from celery import Celery
from kombu.exceptions import ChannelError, OperationalError
from sqlalchemy import Engine

from db.engine import outage_as_unavailable
from db.studies.leases import fail_abandoned
from db.sweep import destinations_to_ring, revisions_to_ring, try_lock
from neurotriage.core.errors import Unavailable
from neurotriage.core.process.doorbell import ANALYSE, DELIVER, QUEUES, ring
from neurotriage.core.settings import Settings

log = structlog.get_logger()

# A queue this long keeps the workers busy until the next sweep; ringing on would only fill the broker
# while no worker runs.
_ENOUGH_MESSAGES: Final = 1000


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did."""

    revisions: int = 0
    destinations: int = 0
    abandoned: int = 0


def sweep(engine: Engine, app: Celery, settings: Settings) -> Swept | None:
    """Ring for revisions and destinations with something due; None where another process sweeps.

    Raises ``Unavailable`` while Postgres or the broker does not answer: the next sweep makes up for it.
    """
    ready, owed = _wanted(app, ANALYSE), _wanted(app, DELIVER)
    every_s = settings.worker.sweep_s
    revisions: list[int] = []
    destinations: list[str] = []
    with outage_as_unavailable(), engine.begin() as connection:
        if not try_lock(connection):
            return None
        # One more than max_attempts: the attempt after the last writes the page that says so.
        abandoned = fail_abandoned(connection, attempts=settings.worker.max_attempts + 1)
        if ready:
            revisions = revisions_to_ring(connection, every_s=every_s)
        if owed:
            destinations = destinations_to_ring(connection, every_s=every_s)
    calls: list[tuple[str, int | str]] = [(ANALYSE, revision) for revision in revisions]
    calls += [(DELIVER, destination) for destination in destinations]
    for task, argument in calls:
        if not ring(app, task, argument):
            raise Unavailable("the broker does not answer")
    swept = Swept(len(revisions), len(destinations), abandoned)
    if swept != Swept():
        log.info(
            "swept", revisions=swept.revisions, destinations=swept.destinations, abandoned=swept.abandoned
        )
    return swept


def _wanted(app: Celery, task: str) -> bool:
    """False while the queue of a task is long enough. Raises ``Unavailable`` without a broker."""
    with app.connection_for_write() as connection:
        try:
            # Not the default channel: that one retries for seconds.
            with connection.channel() as channel:
                waiting: int = channel.queue_declare(queue=QUEUES[task], passive=True).message_count
        except ChannelError:
            return True  # no message yet, hence no queue
        except (OperationalError, *connection.connection_errors) as error:
            raise Unavailable("the broker does not answer") from error
    return waiting < _ENOUGH_MESSAGES
