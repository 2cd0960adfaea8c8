"""The Celery tasks. Each asks the database whether there is work, and does it.

A message names the revision or destination that it was sent for. One for a revision has the worker take the
most urgent that waits, so it does not matter what lies before it in the queue.

The parent of a prefork worker never imports torch: a child forked after a torch operation hangs.
"""

import os
import socket
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from neurotriage.core.process import running
from neurotriage.core.process.doorbell import DELIVER, TASKS, celery_app, ring
from neurotriage.core.process.role import Role
from neurotriage.core.settings import Settings
from worker.attempt import Worker, owner_name
from worker.delivery import deliver
from worker.memory import limit_memory
from worker.presence import PresenceKeeper
from worker.readiness import Readiness, keep_own_logging, take_work_when_warm
from worker.selection import BUILT_IN_ALONE, read_rules
from worker.telling.summarise import summarise

log = structlog.get_logger()


def worker_app(settings: Settings, role: Role) -> Celery:
    """The Celery application of a worker process in one role.

    The rules of the site are read here, once for all processes of its pool. Raises ``ConfigurationError`` for
    rules that cannot be used.
    """
    app = celery_app(settings)
    rules = read_rules(settings.selection.rules) if role is Role.ANALYSIS else BUILT_IN_ALONE
    if rules.rules:
        log.info("rules_of_the_site", sha256=rules.sha256, rules=len(rules.rules))
    worker = Worker(settings, app, rules)

    def analyse_revision(revision_id: int) -> None:
        worker.analyse(revision_id)

    def deliver_to(destination: str) -> None:
        deliver(worker.engine, settings, destination, owner=owner_name())

    def summarise_next(_revision_id: int) -> None:
        for destination in summarise(worker.engine, settings, owner=owner_name()):
            ring(app, DELIVER, destination)

    work = {Role.ANALYSIS: analyse_revision, Role.DELIVERY: deliver_to, Role.SUMMARY: summarise_next}
    app.task(name=TASKS[role])(work[role])
    tell_presence = _presence(worker, role)
    if role is Role.ANALYSIS:
        readiness = Readiness()

        def warm_early(**_: Any) -> None:
            warm = worker.warm_up()
            tell_presence()
            from worker.vision.memory import on_gpu  # imports torch, which the parent must not

            if not on_gpu():  # a GPU's driver maps its memory into the process
                limit_memory(settings.worker.memory_mb)
            readiness.report(warm=warm)

        worker_process_init.connect(warm_early, weak=False)
        take_work_when_warm(app, readiness)
    return app


def _presence(worker: Worker, role: Role) -> Callable[[], None]:
    """Have each process of the pool tell that it runs, from fork to end; the function has it tell at once."""
    kept: list[PresenceKeeper] = []  # at most one in a process

    def appear(**_: Any) -> None:
        kept.append(PresenceKeeper(worker.engine, role, worker.loaded))
        kept[-1].start()

    def disappear(**_: Any) -> None:
        while kept:
            kept.pop().end()

    worker_process_init.connect(appear, weak=False)
    worker_process_shutdown.connect(disappear, weak=False)

    def tell_now() -> None:
        for keeper in kept:
            keeper.tell_now()

    return tell_now


def run_worker(settings: Settings, role: Role, *, concurrency: int) -> None:
    """Serve a role with ``concurrency`` processes until SIGTERM, after which running tasks are finished."""
    app = worker_app(settings, role)
    name = f"{role}-{os.getpid()}@{socket.gethostname()}"
    running.note_start(settings, role, name)
    keep_own_logging()
    app.worker_main(
        [
            "--quiet",  # no banner
            "worker",
            "--queues",
            role.value,
            "--concurrency",
            str(concurrency),
            "--hostname",
            name,
            "--loglevel",
            "WARNING",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )
