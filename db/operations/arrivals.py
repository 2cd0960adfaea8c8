"""Which peers sent studies within the last hours, and in the same hours of the last four weeks."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

WEEKS: Final = 4

# A study is its sender's from which its first image came.
ARRIVALS: Final = f"""
with of_week as (
    select k as weeks_ago, sender.peer_ae_title as peer, count(*) as studies
    from generate_series(0, {WEEKS}) k
    join studies s on s.first_received_at > now() - make_interval(weeks => k, secs => :within_s)
        and s.first_received_at <= now() - make_interval(weeks => k)
    cross join lateral (
        select i.peer_ae_title from instances i
        where i.study_id = s.id and not i.own_result order by i.id limit 1
    ) sender
    group by 1, 2
)
select peer,
    coalesce(sum(studies) filter (where weeks_ago = 0), 0) as studies_now,
    coalesce(sum(studies) filter (where weeks_ago > 0), 0) as studies_before,
    count(*) filter (where weeks_ago > 0) as weeks
from of_week group by peer order by peer
"""  # noqa: S608 - of our own text alone


@dataclass(frozen=True, slots=True)
class PeerArrivals:
    """Studies of a peer within the last hours, and in the same hours of the last four weeks."""

    peer: str  # AE title
    studies_now: int
    studies_before: int  # of all weeks together
    weeks: int  # in which there was one


def arrivals(connection: Connection, within_s: float) -> tuple[PeerArrivals, ...]:
    """Every peer with a study in any of these hours, by AE title."""
    rows = connection.execute(text(ARRIVALS), {"within_s": within_s})
    return tuple(
        PeerArrivals(row.peer, int(row.studies_now), int(row.studies_before), row.weeks) for row in rows
    )
