"""Checks of the broker and the workers."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final
from uuid import uuid4

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

from neurotriage.core.process.doorbell import WARM, celery_app
from neurotriage.core.process.role import Role
from neurotriage.core.process.running import edited_since
from neurotriage.core.settings import Settings
from neurotriage.dicom.headers import first_line
from neurotriage.doctor.check import Check, failed, ok, warning

_ROUND_TRIP_S: Final = 3.0
_PINGS_S: Final = (2.0, 5.0)


def look_at_queue(settings: Settings) -> Iterator[Check]:
    """A message to the broker and back, then a ping to the workers."""
    try:
        app = celery_app(settings)
        yield _round_trip(app)
        yield from _workers(app, settings)
    except (OperationalError, RedisError, OSError, ValueError) as error:
        yield failed(
            "broker",
            f"does not answer: {first_line(error)}",
            "Correct [broker] url, or start Redis or Valkey; studies wait in the tables until then.",
        )


def _round_trip(app: Celery) -> Check:
    """A message through a queue of our own, which is then deleted: no worker sees it."""
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


def _workers(app: Celery, settings: Settings) -> Iterator[Check]:
    answers, warm = _answers(app, _roles(settings)), _warm(app)
    for role in _roles(settings):
        names = answers[role]
        if not names:
            start = f"Start `neurotriage work --role {role}`; where one runs, see its log."
            yield failed(f"{role} worker", f"none answers within {sum(_PINGS_S):g} s", start)
            continue
        edited = {name: sections for name in names if (sections := edited_since(settings, role, name))}
        if edited:
            details = "; ".join(f"{name}: {', '.join(sections)}" for name, sections in edited.items())
            said = f"configuration edited since it started: {details}"
            yield failed(f"{role} worker", said, f"Restart `neurotriage work --role {role}`.")
        else:
            yield _answering(role, names, warm)


def _roles(settings: Settings) -> list[str]:
    """The roles that this set-up needs a worker for."""
    asks = settings.summary.asks
    return sorted(role for role in Role if asks or role is not Role.SUMMARY)


def _answers(app: Celery, roles: Sequence[str]) -> dict[str, list[str]]:
    """The workers that answer a ping, by role; busy ones get a second, longer chance."""
    workers: dict[str, list[str]] = {}
    for limit_s in _PINGS_S:
        # The broker has just answered: a read that times out here is a worker's silence.
        answers: Mapping[str, object] = {}
        with suppress(NoAnswer):
            answers = app.control.inspect(timeout=limit_s).ping() or {}
        workers = {role: sorted(name for name in answers if name.startswith(f"{role}-")) for role in roles}
        if all(workers.values()):
            break
    return workers


def _warm(app: Celery) -> dict[str, float | None]:
    """Seconds in which each analysis worker warmed up; None if it did not."""
    replies: Sequence[Mapping[str, object]] = ()
    with suppress(NoAnswer):
        replies = app.control.broadcast(WARM, reply=True, timeout=_PINGS_S[0]) or []
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
            f"not warmed up: {', '.join(cold)}",
            "Its first study loads the models; the log says why they could not be loaded at the start.",
        )
    workers = (
        f"{name} (warm: models loaded and run once in {warm[name]:.0f} s)" if warm.get(name) else name
        for name in names
    )
    return ok(f"{role} worker", ", ".join(workers))
