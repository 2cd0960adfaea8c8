"""What waits for each destination, and what it answered."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

from db.tables.deliveries import OPEN


@dataclass(frozen=True, slots=True)
class DestinationLoad:
    """A destination as it stands. Objects are deliveries: one object to one destination."""

    name: str  # behind a slash the peer that sent the study
    objects_waiting: int
    objects_held: int  # until somebody releases them
    held_since: datetime | None
    oldest_waiting_s: float | None  # None: nothing waits
    last_answer: str  # of what waits, in our words; empty where nothing does, or it was not tried yet
    objects_alarmed: int  # of what waits
    objects_unproven: int  # stored, and under alarm: lost there, or the proof never came
    alarmed_since: datetime | None
    objects_stored_last_hour: int
    objects_stored_last_day: int
    objects_ended_last_day: int  # refused, or given up after many tries


WAITING: Final = f"""
select destination,
    count(*) filter (where state in ('waiting', 'sending')) as waiting,
    count(*) filter (where state = 'held') as held,
    min(waiting_since) filter (where state = 'held') as held_since,
    extract(epoch from clock_timestamp() - min(waiting_since) filter (where state in ('waiting', 'sending')))
        as oldest_s,
    count(*) filter (where state in ('waiting', 'sending') and alarmed_at is not null) as alarmed,
    count(*) filter (where state = 'stored') as unproven,
    min(alarmed_at) filter (where state in ('waiting', 'sending', 'stored')) as since
from deliveries where {OPEN} group by destination
"""  # noqa: S608 - of our own text alone

# The delay grows with each try, so what is tried last of all is what was tried. What waits again after it was
# cancelled still holds the reason that somebody gave, which may name a patient.
ANSWER: Final = """
select last_status from deliveries
where destination = :destination and state = 'waiting' and last_status <> ''
    and last_status not like 'cancelled%'
order by next_try_at desc limit 1
"""

STORED: Final = """
select destination, count(*) as day, count(*) filter (where stored_at >= now() - interval '1 hour') as hour
from deliveries where stored_at >= now() - interval '1 day' group by destination
"""

ENDED: Final = """
select d.destination, count(*) as day
from destination_leases l join deliveries d on d.destination = l.destination
where d.state in ('refused', 'given_up') and d.next_try_at >= now() - interval '1 day'
    and d.last_status not like 'cancelled%'
group by d.destination
"""


def destinations(connection: Connection) -> tuple[DestinationLoad, ...]:
    """Every destination with something to tell of the last day, by name."""
    waiting, stored, ended = (
        {row.destination: row for row in connection.execute(text(statement))}
        for statement in (WAITING, STORED, ENDED)
    )
    found = []
    for name in sorted({*waiting, *stored, *ended}):
        waits, sent, over = waiting.get(name), stored.get(name), ended.get(name)
        answer = None
        if waits is not None and waits.waiting:
            answer = connection.execute(text(ANSWER), {"destination": name}).scalar()
        found.append(
            DestinationLoad(
                name=name,
                objects_waiting=waits.waiting if waits else 0,
                objects_held=waits.held if waits else 0,
                held_since=waits.held_since if waits else None,
                oldest_waiting_s=float(waits.oldest_s) if waits and waits.oldest_s is not None else None,
                last_answer=answer or "",
                objects_alarmed=waits.alarmed if waits else 0,
                objects_unproven=waits.unproven if waits else 0,
                alarmed_since=waits.since if waits else None,
                objects_stored_last_hour=sent.hour if sent else 0,
                objects_stored_last_day=sent.day if sent else 0,
                objects_ended_last_day=over.day if over else 0,
            )
        )
    return tuple(found)
