"""The Celery queue as a doorbell: a message holds one row id, Postgres holds the truth.

The listener and the worker share only this file: the listener sends a task by its name, the worker runs it.
"""

from typing import Final

from celery import Celery
from kombu.exceptions import OperationalError

from neurotriage.core.process.role import Role
from neurotriage.core.settings import Settings

ANALYSE: Final = "neurotriage.analyse"  # argument: revisions.id
DELIVER: Final = "neurotriage.deliver"  # argument: destination name
SUMMARISE: Final = "neurotriage.summarise"  # argument: revisions.id
# A question through the broker to every analysis worker: {"warm_in_s": seconds, or null}.
WARM: Final = "neurotriage_warm"
TASKS: Final = {Role.ANALYSIS: ANALYSE, Role.DELIVERY: DELIVER, Role.SUMMARY: SUMMARISE}
QUEUES: Final = {task: role.value for role, task in TASKS.items()}

# Longer than the longest analysis, so that the broker never hands a running study to a second worker;
# lost work comes back by the sweep over the tables.
_VISIBILITY_TIMEOUT_S: Final = 6 * 3600

# A process of the pool loads the models before it is alive; on a small, busy host that takes a minute.
_ALIVE_WITHIN_S: Final = 300


def celery_app(settings: Settings) -> Celery:
    """The Celery application, configured so that no work is lost if the broker loses every message."""
    app = Celery("neurotriage", broker=settings.broker.url)
    app.conf.update(
        task_acks_late=True,
        # The sweep redelivers; with True a study that kills its worker would be redelivered for ever.
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_routes={task: {"queue": queue} for task, queue in QUEUES.items()},
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": _VISIBILITY_TIMEOUT_S,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            # What cannot be sent now is sent by the sweep; nobody waits for it.
            "max_retries": 1,
        },
        worker_proc_alive_timeout=_ALIVE_WITHIN_S,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_pool_limit=2,
    )
    return app


def ring(app: Celery, task: str, argument: int | str) -> bool:
    """Send a message. False if the broker does not answer: the sweep sends it again later."""
    try:
        app.send_task(task, args=[argument], queue=QUEUES[task], retry=False)
    except (OperationalError, OSError):
        return False
    return True
