"""How much is stored, and how fast it grows, as the rows say it: no folder is walked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

GROWTH_DAYS: Final = 3
_SAMPLED_PAGES: Final = 2000


@dataclass(frozen=True, slots=True)
class Sizes:
    """What lies in the store and the database. ``store_bytes`` of a large table is estimated by a sample."""

    store_bytes: int
    database_bytes: int
    received_bytes: int  # within the last three days
    result_bytes: int  # the same
    first_received_at: datetime | None  # of the whole installation
    quarantined_last_day: int


SIZES: Final = f"""
select
    pg_database_size(current_database()) as database_bytes,
    (select coalesce(sum(size_bytes), 0) from instances
        where received_at >= now() - interval '{GROWTH_DAYS} days')::bigint as received_bytes,
    (select coalesce(sum(o.size_bytes), 0)
        from revisions r
        join analyses a on a.revision_id = r.id
        join result_objects o on o.analysis_id = a.id
        where r.ended_at >= now() - interval '{GROWTH_DAYS} days')::bigint as result_bytes,
    (select min(first_received_at) from studies) as first_received_at,
    (select count(*) from quarantined where quarantined_at >= now() - interval '1 day')
        as quarantined_last_day,
    pg_relation_size('instances') / current_setting('block_size')::bigint as pages
"""  # noqa: S608 - of our own text alone

SAMPLE: Final = """
select coalesce(sum(size_bytes), 0) from instances tablesample system (:percent) repeatable (1)
"""


def sizes(connection: Connection) -> Sizes:
    """What is stored now."""
    row = connection.execute(text(SIZES)).mappings().one()
    percent = min(100.0, 100.0 * _SAMPLED_PAGES / max(1, row["pages"]))
    sampled_bytes = connection.execute(text(SAMPLE), {"percent": percent}).scalar_one()
    return Sizes(
        store_bytes=int(float(sampled_bytes) * 100.0 / percent),
        database_bytes=row["database_bytes"],
        received_bytes=row["received_bytes"],
        result_bytes=row["result_bytes"],
        first_received_at=row["first_received_at"],
        quarantined_last_day=row["quarantined_last_day"],
    )
