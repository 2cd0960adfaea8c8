"""How much went through in the last hour and day, and how long each hop took."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Counts:
    """What went through within a window of time."""

    studies_received: int
    images_received: int
    studies_analysed: int
    studies_failed: int
    studies_delivered: int  # all objects are stored wherever they go


@dataclass(frozen=True, slots=True)
class Spread:
    """How long a hop took, over ``studies`` within a window of time."""

    studies: int
    p50_s: float
    p95_s: float


@dataclass(frozen=True, slots=True)
class Hop:
    """From one stage to the next. None: no study took it within the window."""

    name: str
    last_hour: Spread | None
    last_day: Spread | None


@dataclass(frozen=True, slots=True)
class Flow:
    """Counts and times. ``analysis_s``: mean time that a worker held a study, of the last day."""

    last_hour: Counts
    last_day: Counts
    hops: tuple[Hop, ...]
    analysis_s: float | None


# A study of the backlog waits on purpose, so it is counted, but its times tell nothing.
_SPREADS: Final = """
    count({hop}) filter (where {timed} and at >= now() - interval '1 hour') as {name}_studies_hour,
    count({hop}) filter (where {timed}) as {name}_studies_day,
    percentile_cont(array[0.5, 0.95]) within group (order by {hop})
        filter (where {timed} and at >= now() - interval '1 hour') as {name}_hour,
    percentile_cont(array[0.5, 0.95]) within group (order by {hop}) filter (where {timed}) as {name}_day
"""
_TIMED: Final = "{hop} >= 0 and priority <> 'backlog'"

RECEIVED: Final = """
select count(*) as day, count(*) filter (where first_received_at >= now() - interval '1 hour') as hour
from studies where first_received_at >= now() - interval '1 day'
"""

IMAGES: Final = """
select count(*) as day, count(*) filter (where received_at >= now() - interval '1 hour') as hour
from instances where received_at >= now() - interval '1 day'
"""


def _spreads(hop: str, name: str) -> str:
    return _SPREADS.format(hop=hop, name=name, timed=_TIMED.format(hop=hop))


# An image that came after the study was frozen belongs to the next revision.
ANALYSED: Final = f"""
with ended as (
    select r.state, r.ended_at as at, s.priority,
        extract(epoch from r.ended_at - a.started_at) as held_s,
        extract(epoch from r.ready_at - s.last_received_at) as image_to_ready_s,
        extract(epoch from r.ended_at - r.ready_at) as ready_to_analysed_s,
        a.outcome
    from revisions r
    join studies s on s.id = r.study_id
    left join analyses a on a.revision_id = r.id
    where r.ended_at >= now() - interval '1 day'
)
select
    count(*) filter (where state = 'analysed' and at >= now() - interval '1 hour') as analysed_hour,
    count(*) filter (where state = 'analysed') as analysed_day,
    count(*) filter (where (state = 'failed' or outcome = 'failed') and at >= now() - interval '1 hour')
        as failed_hour,
    count(*) filter (where state = 'failed' or outcome = 'failed') as failed_day,
    avg(held_s) filter (where held_s >= 0) as analysis_s,
    {_spreads("image_to_ready_s", "image_to_ready")},
    {_spreads("ready_to_analysed_s", "ready_to_analysed")}
from ended where state in ('analysed', 'failed')
"""  # noqa: S608 - of our own text alone

DELIVERED: Final = f"""
with stored as (
    select o.analysis_id, max(d.stored_at) as at,
        max(least(d.committed_at, d.found_at)) as proven_at,
        bool_and(d.committed_at is not null or d.found_at is not null) as proven
    from deliveries d join result_objects o on o.id = d.result_object_id
    where d.stored_at >= now() - interval '1 day'
    group by o.analysis_id
),
whole as (
    select stored.at, s.priority,
        extract(epoch from stored.at - r.ended_at) as analysed_to_delivered_s,
        case when proven then extract(epoch from proven_at - stored.at) end as delivered_to_proven_s
    from stored
    join analyses a on a.id = stored.analysis_id
    join revisions r on r.id = a.revision_id
    join studies s on s.id = a.study_id
    where not exists (
        select from result_objects o join deliveries d on d.result_object_id = o.id
        where o.analysis_id = stored.analysis_id and d.state in ('held', 'waiting', 'sending')
    )
)
select
    count(*) filter (where at >= now() - interval '1 hour') as hour,
    count(*) as day,
    {_spreads("analysed_to_delivered_s", "analysed_to_delivered")},
    {_spreads("delivered_to_proven_s", "delivered_to_proven")}
from whole
"""  # noqa: S608 - of our own text alone


def flow(connection: Connection) -> Flow:
    """What went through. The revisions that ended ``unchanged`` are no analyses."""
    received, images, analysed, delivered = (
        connection.execute(text(statement)).mappings().one()
        for statement in (RECEIVED, IMAGES, ANALYSED, DELIVERED)
    )
    counts = {
        window: Counts(
            received[window],
            images[window],
            analysed[f"analysed_{window}"],
            analysed[f"failed_{window}"],
            delivered[window],
        )
        for window in ("hour", "day")
    }
    hops = (
        _hop("image_to_ready", analysed),
        _hop("ready_to_analysed", analysed),
        _hop("analysed_to_delivered", delivered),
        _hop("delivered_to_proven", delivered),
    )
    held_s = analysed["analysis_s"]
    return Flow(counts["hour"], counts["day"], hops, None if held_s is None else float(held_s))


def _hop(name: str, row: Mapping[Any, Any]) -> Hop:
    return Hop(name, _spread(row, name, "hour"), _spread(row, name, "day"))


def _spread(row: Mapping[Any, Any], name: str, window: str) -> Spread | None:
    times_s = row[f"{name}_{window}"]
    if times_s is None:
        return None
    p50_s, p95_s = times_s
    return Spread(row[f"{name}_studies_{window}"], float(p50_s), float(p95_s))
