"""Analysis, or what goes to a destination, rests while somebody works on it: nothing is lost meanwhile."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute

from db import events
from db.clock import seconds
from db.tables import Pause

ANALYSIS: Final = "analysis"


@dataclass(frozen=True, slots=True)
class StandingPause:
    """What rests, since and until when, and who said so."""

    name: str
    since: datetime
    until: datetime | None
    made_by: str
    reason: str


def pause(connection: Connection, name: str, *, made_by: str, reason: str, for_s: float | None) -> None:
    """Let ``ANALYSIS`` or a destination rest, for ``for_s`` or until it is resumed; replaces its last pause.

    What a worker or sender has begun, it ends.
    """
    said = {
        "since": func.clock_timestamp(),
        "until": None if for_s is None else func.clock_timestamp() + seconds(for_s),
        "made_by": made_by,
        "reason": reason,
    }
    statement = insert(Pause).values(name=name, **said)
    connection.execute(statement.on_conflict_do_update(index_elements=[Pause.name], set_=said))
    events.record(connection, "paused", name=name, by=made_by, reason=reason, for_s=for_s)


def resume(connection: Connection, name: str, *, made_by: str) -> bool:
    """Let it go on. False: it did not rest."""
    was_paused = connection.execute(select(paused(name))).scalar_one()
    connection.execute(delete(Pause).where(Pause.name == name))
    if was_paused:
        events.record(connection, "resumed", name=name, by=made_by)
    return bool(was_paused)


def standing(connection: Connection) -> tuple[StandingPause, ...]:
    """All that rests now, by name."""
    rows = connection.execute(
        select(Pause.name, Pause.since, Pause.until, Pause.made_by, Pause.reason)
        .where(_lasts())
        .order_by(Pause.name)
    )
    return tuple(StandingPause(*row) for row in rows)


def paused(name: str | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Whether that rests; of the address of a destination, what stands before its slash counts."""
    return exists().where(Pause.name == func.split_part(name, "/", 1), _lasts())


def _lasts() -> ColumnElement[bool]:
    return or_(Pause.until.is_(None), Pause.until > func.clock_timestamp())
