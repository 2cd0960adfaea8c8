"""What is to be told of alarms by each channel, until it is sent or given up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update

from db.clock import seconds
from db.tables import AlarmNotice, AlarmRow
from neurotriage.core.retries import retry_delay_s


class Event(StrEnum):
    """What is told of an alarm."""

    BEGAN = "began"
    AGAIN = "again"  # it still stands
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class OpenNotice:
    """Something to be told, with the alarm as it was last found."""

    id: int
    tries: int
    is_due: bool
    event: Event
    alarm_id: int
    code: str
    subject: str
    since: datetime | None
    count: int | None
    text: str
    found_at: datetime
    ended_at: datetime | None


def give(
    connection: Connection, due: Sequence[tuple[int, Event]], channels: Sequence[str], at: datetime
) -> None:
    """Have each channel told of these alarms. Without a channel nothing is told, nor noted as told."""
    if not due or not channels:
        return
    numbers = connection.execute(
        select(AlarmNotice.alarm_id, func.max(AlarmNotice.number))
        .where(AlarmNotice.alarm_id.in_([alarm_id for alarm_id, _ in due]))
        .group_by(AlarmNotice.alarm_id)
    )
    counts = {row[0]: row[1] for row in numbers}
    rows = [
        {"alarm_id": alarm_id, "channel": channel, "number": counts.get(alarm_id, 0) + 1, "event": event}
        for alarm_id, event in due
        for channel in channels
    ]
    connection.execute(insert(AlarmNotice), rows)
    ends = [alarm_id for alarm_id, event in due if event is Event.ENDED]
    begins = [alarm_id for alarm_id, event in due if event is not Event.ENDED]
    connection.execute(update(AlarmRow).where(AlarmRow.id.in_(begins)).values(notified_at=at))
    connection.execute(update(AlarmRow).where(AlarmRow.id.in_(ends)).values(told_end_at=at))


def open_notices(connection: Connection, channel: str, limit: int) -> tuple[OpenNotice, ...]:
    """What a channel has not been told yet, the oldest first; also what is not due again yet."""
    alarm, notice = AlarmRow.__table__.c, AlarmNotice.__table__.c
    rows = connection.execute(
        select(
            notice.id,
            notice.tries,
            notice.next_try_at <= func.clock_timestamp(),
            notice.event,
            notice.alarm_id,
            alarm.code,
            alarm.subject,
            alarm.since,
            alarm.count,
            alarm.text,
            alarm.found_at,
            alarm.ended_at,
        )
        .join(AlarmRow.__table__, alarm.id == notice.alarm_id)
        .where(_is_open(), notice.channel == channel)
        .order_by(notice.id)
        .limit(limit)
    )
    return tuple(OpenNotice(row[0], row[1], row[2], Event(row[3]), *row[4:]) for row in rows)


def mark_sent(connection: Connection, notices: Sequence[OpenNotice]) -> None:
    """The channel took them."""
    connection.execute(
        update(AlarmNotice)
        .where(AlarmNotice.id.in_([notice.id for notice in notices]))
        .values(sent_at=func.clock_timestamp(), last_error="")
    )


def mark_failed(
    connection: Connection,
    notices: Sequence[OpenNotice],
    error: str,
    *,
    first_s: float,
    longest_s: float,
    max_tries: int,
) -> None:
    """The channel did not take them: those that were due are tried later, up to ``max_tries`` in all."""
    for notice in notices:
        tries = notice.tries + 1
        delay_s = retry_delay_s(tries, first_s=first_s, longest_s=longest_s)
        if notice.is_due:
            connection.execute(
                update(AlarmNotice)
                .where(AlarmNotice.id == notice.id)
                .values(
                    tries=tries,
                    last_error=error,
                    next_try_at=func.clock_timestamp() + seconds(delay_s),
                    given_up=tries >= max_tries,
                )
            )


def give_up_others(connection: Connection, channels: Sequence[str]) -> None:
    """End what waits for a channel that is not among these."""
    connection.execute(
        update(AlarmNotice)
        .where(_is_open(), AlarmNotice.channel.not_in(channels))
        .values(given_up=True, last_error="the channel is no longer configured")
    )


def _is_open() -> ColumnElement[bool]:
    return and_(AlarmNotice.sent_at.is_(None), ~AlarmNotice.given_up)
