"""The broker and who listens to it."""

import time
from collections.abc import Iterator
from typing import Final
from uuid import uuid4

from celery import Celery
from kombu.exceptions import OperationalError

from neurotriage.core.doorbell import QUEUES, WARM, celery_app
from neurotriage.core.headers import first_line
from neurotriage.core.settings import Settings
from neurotriage.doctor.check import Check, failed, ok, warning

_ROUND_TRIP_S: Final = 3.0
_PING_S: Final = 2.0


def look_at_queue(settings: Settings) -> Iterator[Check]:
    """A message there and back, then a ping to the workers."""
    try:
        app = celery_app(settings)
        yield _round_trip(app)
        yield from _workers(app)
    except (OperationalError, OSError, ValueError) as error:
        yield failed(
            "broker",
            f"does not answer: {first_line(error)}",
            "Correct [broker] url, or start Redis or Valkey; studies wait in the tables until then.",
        )


def _round_trip(app: Celery) -> Check:
    """Through a queue of our own, which is deleted again: no worker sees the message."""
    name = f"neurotriage.doctor.{uuid4().hex}"
    with app.connection_for_write() as connection:
        begun = time.monotonic()
        with connection.SimpleQueue(name) as queue:
            try:
                queue.put({"sent": name})
                message = queue.get(timeout=_ROUND_TRIP_S)
                message.ack()
            except queue.Empty:
                return failed(
                    "broker",
                    f"a message did not come back within {_ROUND_TRIP_S:g} s",
                    "See the log of Redis or Valkey.",
                )
            finally:
                queue.queue.delete()
    return ok("broker", f"a message came back in {1000 * (time.monotonic() - begun):.0f} ms")


def _workers(app: Celery) -> Iterator[Check]:
    answers = app.control.inspect(timeout=_PING_S).ping() or {}
    warm = _warm(app)
    for role in sorted(QUEUES.values()):
        names = sorted(name for name in answers if name.startswith(f"{role}-"))
        if names:
            yield _answering(role, names, warm)
        else:
            yield warning(
                f"{role} worker",
                "none answers",
                f"Start `neurotriage work --role {role}`; a busy one may answer too late.",
            )


def _warm(app: Celery) -> dict[str, float | None]:
    """Of each analysis worker, the seconds in which it got warm; None of one that did not."""
    replies = app.control.broadcast(WARM, reply=True, timeout=_PING_S) or []
    return {
        name: answer["warm_in_s"]
        for reply in replies
        for name, answer in reply.items()
        if isinstance(answer, dict) and "warm_in_s" in answer
    }


def _answering(role: str, names: list[str], warm: dict[str, float | None]) -> Check:
    cold = [name for name in names if name in warm and warm[name] is None]
    if cold:
        return warning(
            f"{role} worker",
            f"not warm: {', '.join(cold)}",
            "Its first study loads the models; the log says why they could not be loaded at the start.",
        )
    told = (
        f"{name} (warm: models loaded and run once in {warm[name]:.0f} s)" if warm.get(name) else name
        for name in names
    )
    return ok(f"{role} worker", ", ".join(told))
