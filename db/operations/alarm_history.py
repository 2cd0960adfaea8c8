"""Alarms with what each channel was told of them, for whoever asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from db.tables import AlarmNotice, AlarmRow


@dataclass(frozen=True, slots=True)
class Notice:
    """What a channel was told, or is to be told, of an alarm."""

    channel: str
    event: str  # began, again or ended
    tries: int  # that failed
    last_error: str  # of the last that failed; empty once sent
    sent_at: datetime | None
    given_up: bool


@dataclass(frozen=True, slots=True)
class PastAlarm:
    """An alarm as it was found, with its notices in their order."""

    code: str
    subject: str
    since: datetime | None
    count: int | None
    text: str
    found_at: datetime
    last_found_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str
    acknowledged_until: datetime | None
    ended_at: datetime | None
    notices: tuple[Notice, ...]


def history(connection: Connection, *, ended: bool, limit: int) -> tuple[PastAlarm, ...]:
    """The newest alarms, those that stand first; ``ended``: also those that do not."""
    columns = AlarmRow.__table__.c
    names = [name for name in PastAlarm.__dataclass_fields__ if name != "notices"]
    query = select(columns.id, *(columns[name] for name in names))
    if not ended:
        query = query.where(columns.ended_at.is_(None))
    newest = query.order_by(columns.ended_at.is_not(None), columns.id.desc()).limit(limit)
    rows = connection.execute(newest).mappings().all()
    told = _notices(connection, [row["id"] for row in rows])
    return tuple(
        PastAlarm(**{name: row[name] for name in names}, notices=tuple(told.get(row["id"], ())))
        for row in rows
    )


def _notices(connection: Connection, alarm_ids: list[Any]) -> Mapping[int, list[Notice]]:
    columns = AlarmNotice.__table__.c
    wanted = [columns[name] for name in Notice.__dataclass_fields__]
    rows = connection.execute(
        select(columns.alarm_id, *wanted).where(columns.alarm_id.in_(alarm_ids)).order_by(columns.id)
    )
    found: dict[int, list[Notice]] = {}
    for row in rows:
        found.setdefault(row.alarm_id, []).append(Notice(*row[1:]))
    return found
