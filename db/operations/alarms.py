"""Alarms that were found, one row from when a cause was found to when it was gone; by Postgres' clock."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from db.clock import seconds
from db.tables import AlarmRow

# One number for the whole product, unlike any other advisory lock in this database.
_WATCH_LOCK: Final = 0x616C726D


@dataclass(frozen=True, slots=True)
class StandingAlarm:
    """An alarm that has not ended."""

    id: int
    code: str
    subject: str
    found_at: datetime
    last_found_at: datetime
    notified_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str
    acknowledged_until: datetime | None  # None: until it ends

    def is_acknowledged(self, at: datetime) -> bool:
        """Whether somebody has taken note of it, for a time that is not over."""
        if self.acknowledged_at is None:
            return False
        return self.acknowledged_until is None or at < self.acknowledged_until


@contextmanager
def watching(engine: Engine) -> Iterator[bool]:
    """Whether this is the one process that watches, until the block ends. False, at once: another one is."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        taken = connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": _WATCH_LOCK}).scalar()
        try:
            yield bool(taken)
        finally:
            if taken:
                _unlock(connection)


def _unlock(connection: Connection) -> None:
    """Where it cannot be said any more, the lock ends with the connection, which is given up for it."""
    with suppress(SQLAlchemyError):
        connection.execute(text("select pg_advisory_unlock(:key)"), {"key": _WATCH_LOCK})
        return
    connection.invalidate()


def now(connection: Connection) -> datetime:
    """The time by the database's clock."""
    at: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return at


def standing(connection: Connection) -> tuple[StandingAlarm, ...]:
    """Every alarm that has not ended, the oldest first."""
    columns = AlarmRow.__table__.c
    wanted = [columns[name] for name in StandingAlarm.__dataclass_fields__]
    rows = connection.execute(select(*wanted).where(columns.ended_at.is_(None)).order_by(columns.id))
    return tuple(StandingAlarm(*row) for row in rows)


def begin(connection: Connection, found: Sequence[Mapping[str, Any]], at: datetime) -> None:
    """Add rows of ``code``, ``subject``, ``since``, ``count`` and ``text``."""
    if found:
        rows = [{**row, "found_at": at, "last_found_at": at} for row in found]
        connection.execute(insert(AlarmRow), rows)


def go_on(connection: Connection, row_id: int, found: Mapping[str, Any], at: datetime) -> None:
    """It still stands, with ``since``, ``count`` and ``text`` as given."""
    connection.execute(update(AlarmRow).where(AlarmRow.id == row_id).values(**found, last_found_at=at))


def keep(connection: Connection, row_ids: Sequence[int], at: datetime) -> None:
    """Nobody knows whether these still stand: they count as if they did."""
    connection.execute(update(AlarmRow).where(AlarmRow.id.in_(row_ids)).values(last_found_at=at))


def end(connection: Connection, row_ids: Sequence[int], at: datetime) -> None:
    """These are gone."""
    connection.execute(update(AlarmRow).where(AlarmRow.id.in_(row_ids)).values(ended_at=at))


def add_ended(
    connection: Connection, found: Sequence[Mapping[str, Any]], found_at: datetime, ended_at: datetime
) -> list[int]:
    """Add rows, as of ``begin``, of what began and ended while no row could be written; their ids."""
    times = {"found_at": found_at, "last_found_at": ended_at, "ended_at": ended_at}
    return [
        connection.execute(insert(AlarmRow).values(**row, **times).returning(AlarmRow.id)).scalar_one()
        for row in found
    ]


def acknowledge(
    connection: Connection, code: str, subject: str | None, by: str, for_s: float | None
) -> list[tuple[str, str]]:
    """Take note of the standing alarms of a code, of one ``subject`` or all. ``for_s`` None: until they end.

    Returns code and subject of each.
    """
    of_subject = [] if subject is None else [AlarmRow.subject == subject]
    until = None if for_s is None else func.clock_timestamp() + seconds(for_s)
    rows = connection.execute(
        update(AlarmRow)
        .where(AlarmRow.ended_at.is_(None), AlarmRow.code == code, *of_subject)
        .values(acknowledged_at=func.clock_timestamp(), acknowledged_by=by, acknowledged_until=until)
        .returning(AlarmRow.code, AlarmRow.subject)
    )
    return sorted((row.code, row.subject) for row in rows)
