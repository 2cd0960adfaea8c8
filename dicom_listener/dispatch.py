"""Sends a Celery message for each row that waits, and again where a message was lost."""

from dataclasses import asdict, dataclass
from typing import Final

import structlog
from celery import Celery
from kombu.exceptions import ChannelError, OperationalError
from sqlalchemy import Engine

from db import summary_requests
from db.engine import outage_as_unavailable
from db.studies.leases import fail_abandoned
from db.sweep import destinations_to_ring, revisions_to_ring, try_lock
from neurotriage.core.errors import Unavailable
from neurotriage.core.process.doorbell import ANALYSE, DELIVER, QUEUES, SUMMARISE, ring
from neurotriage.core.settings import Settings

log = structlog.get_logger()

# A queue this long keeps the workers busy until the next sweep; more messages would only fill the broker
# while no worker runs. It keeps no urgent study out: any message has the most urgent one analysed, and
# destinations with urgent results are rung for up to twice as many.
_ENOUGH_MESSAGES: Final = 1000


@dataclass(frozen=True, slots=True)
class Swept:
    """Counts of one sweep: messages sent, revisions failed after their last attempt, texts not asked for."""

    revisions: int = 0
    destinations: int = 0
    abandoned: int = 0
    texts: int = 0
    late_texts: int = 0


def sweep(engine: Engine, app: Celery, settings: Settings) -> Swept | None:
    """Send messages for revisions and destinations with work due; None where another process sweeps.

    Raises ``Unavailable`` while Postgres or the broker does not answer; the next sweep catches up.
    """
    analyse, deliver = _messages(app, ANALYSE), _messages(app, DELIVER)
    every_s = settings.worker.sweep_s
    revisions: list[int] = []
    destinations: list[str] = []
    texts: list[int] = []
    with outage_as_unavailable(), engine.begin() as connection:
        if not try_lock(connection):
            return None
        # One more than max_attempts: a last one writes the page that reports the failure.
        abandoned = fail_abandoned(connection, attempts=settings.worker.max_attempts + 1)
        if analyse < _ENOUGH_MESSAGES:
            revisions = revisions_to_ring(connection, every_s=every_s)
        if deliver < 2 * _ENOUGH_MESSAGES:
            full = deliver >= _ENOUGH_MESSAGES
            destinations = destinations_to_ring(connection, every_s=every_s, urgent_only=full)
        late_texts = summary_requests.expire(
            connection, wait_s=settings.summary.wait_s, attempts=settings.worker.max_attempts
        )
        if settings.summary.asks:
            texts = summary_requests.to_ring(connection, every_s=every_s)
    calls: list[tuple[str, int | str]] = [(ANALYSE, revision) for revision in revisions]
    calls += [(DELIVER, destination) for destination in destinations]
    calls += [(SUMMARISE, revision) for revision in texts]
    for task, argument in calls:
        if not ring(app, task, argument):
            raise Unavailable("the broker does not answer")
    swept = Swept(len(revisions), len(destinations), abandoned, len(texts), late_texts)
    if swept != Swept():
        log.info("swept", **asdict(swept))
    return swept


def _messages(app: Celery, task: str) -> int:
    """How many messages wait in the queue of a task. Raises ``Unavailable`` without a broker."""
    with app.connection_for_write() as connection:
        try:
            # The default channel would retry for seconds.
            with connection.channel() as channel:
                waiting: int = channel.queue_declare(queue=QUEUES[task], passive=True).message_count
        except ChannelError:
            return 0  # the queue is created by its first message
        except (OperationalError, *connection.connection_errors) as error:
            raise Unavailable("the broker does not answer") from error
    return waiting
