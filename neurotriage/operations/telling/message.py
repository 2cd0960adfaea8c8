"""The message that a channel carries: alarms alone, no UID and no name of a patient."""

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import TypeAdapter

from db.operations.alarm_notices import Event, OpenNotice
from neurotriage.operations.values import Alarm

# Raised where a field changes its meaning or goes; new fields do not raise it.
VERSION: Final = 1
NOTICE: Final = "neurotriage is research software: not for diagnosis."
_CHARS: Final = 500  # of a sentence


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of one alarm. ``id`` and ``event`` are the same where it is told twice, after a crash."""

    id: int  # of the row in the table alarms; 0 where Postgres is away and there is none
    event: Event
    code: str
    subject: str  # class, role, process or destination; empty: the installation
    since: datetime | None
    count: int | None
    text: str
    found_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Message:
    """All that began or ended since the last one."""

    version: int
    notice: str
    host: str  # that sends it
    at: datetime
    test: bool  # by `neurotriage alarms --test`: tells of no alarm
    alarms: tuple[Told, ...]


_MESSAGE: Final = TypeAdapter(Message)


def message_of(notices: Sequence[OpenNotice], at: datetime) -> Message:
    """The message with these notices."""
    return _message(
        at,
        tuple(
            Told(
                notice.alarm_id,
                notice.event,
                notice.code,
                notice.subject,
                notice.since,
                notice.count,
                notice.text[:_CHARS],
                notice.found_at,
                notice.ended_at,
            )
            for notice in notices
        ),
    )


def message_without_rows(alarms: Sequence[Alarm], event: Event, found_at: datetime, at: datetime) -> Message:
    """The message where there is no table to note alarms in."""
    ended_at = at if event is Event.ENDED else None
    return _message(
        at,
        tuple(
            Told(0, event, a.code, a.subject, a.since, a.count, a.text[:_CHARS], found_at, ended_at)
            for a in alarms
        ),
    )


def trial_message() -> Message:
    """A message that tells of nothing."""
    return _message(datetime.now(UTC), (), test=True)


def _message(at: datetime, told: tuple[Told, ...], *, test: bool = False) -> Message:
    return Message(VERSION, NOTICE, socket.gethostname(), at, test, told)


def to_json(message: Message) -> bytes:
    """The message as JSON in UTF-8, by ``docs/alarms.schema.json``. Times are ISO 8601 in UTC."""
    return _MESSAGE.dump_json(message)


def schema() -> dict[str, Any]:
    """The JSON schema of ``to_json``, kept as ``docs/alarms.schema.json``."""
    made: dict[str, Any] = _MESSAGE.json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def subject_of(message: Message) -> str:
    """A line for the subject of an e-mail."""
    return f"neurotriage on {message.host}: {_summary(message)}"


def text_of(message: Message) -> str:
    """The message as plain text."""
    lines = [subject_of(message), f"{message.at:%Y-%m-%d %H:%M:%S} UTC", ""]
    for told in message.alarms:
        count = "" if told.count is None else f" ({told.count})"
        since = "" if told.since is None else f", since {told.since:%Y-%m-%d %H:%M} UTC"
        lines += [f"{_WORDS[told.event]}: {told.code} {told.subject}{count}{since}", f"    {told.text}"]
    if message.test:
        lines.append("This is a test. No alarm is told by it.")
    else:
        lines += ["", "`neurotriage alarms` shows what stands, `--acknowledge` takes note of it."]
    return "\n".join([*lines, "", message.notice, ""])


_WORDS: Final = {Event.BEGAN: "BEGAN", Event.AGAIN: "STILL STANDS", Event.ENDED: "ENDED"}


def _summary(message: Message) -> str:
    if message.test:
        return "test message"
    events = [told.event for told in message.alarms]
    counts = [f"{events.count(event)} {_WORDS[event].lower()}" for event in Event if event in events]
    return f"alarms: {', '.join(counts)}"


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
