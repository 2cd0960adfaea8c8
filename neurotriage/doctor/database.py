"""Checks of Postgres: connection, clock, schema, our rights, other readers."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from db import migrate
from db.engine import connect
from db.studies import priority
from neurotriage.core.priority import Priority
from neurotriage.core.settings import ConfigurationError, Settings
from neurotriage.dicom.headers import first_line
from neurotriage.doctor.check import Check, State, failed, ok, warning
from worker.vision import BadWeights, read_registry

# Leases run by the database's clock, and results are dated by ours; readers compare the two.
MAX_SKEW_S: Final = 2.0

# An urgent study that has waited for longer found no worker.
URGENT_WAIT_S: Final = 600.0
_LATE: Final = text(
    """
    select max(extract(epoch from clock_timestamp() - waiting_since)) from analysis_queue
    where state = 'ready' and priority = :priority
      and waiting_since < clock_timestamp() - make_interval(secs => :limit_s)
    """
)

_ANSWERED_BY: Final = text(
    """
    select count(distinct a.study_id)
    from analyses a
    join predictions p on p.analysis_id = a.id
    join model_versions m on m.id = p.model_version_id
    where m.name = any(:names) and a.analysed_at > now() - interval '1 day'
    """
)

_READERS: Final = text(
    """
    select distinct coalesce(role.rolname, 'PUBLIC') as name
    from pg_class view cross join aclexplode(view.relacl) as granted
    left join pg_roles role on role.oid = granted.grantee
    where view.oid = to_regclass('study_results')
      and granted.privilege_type = 'SELECT' and granted.grantee <> view.relowner
    order by name
    """
)


def look_at_database(settings: Settings) -> Iterator[Check]:
    """Connection, clock, schema, our rights and readers, and which models answered lately."""
    try:
        engine = connect(settings.database.url, pool_size=1)
    except ConfigurationError as error:
        yield failed("connection", str(error), "Correct [database] url.")
        return
    try:
        with engine.connect() as connection:
            version = connection.execute(text("show server_version")).scalar_one()
            yield ok("connection", f"Postgres {version} answers")
            yield _clock(connection)
        problem = migrate.problem(engine)
        if problem is not None:
            said, _, advice = problem.rpartition(": ")
            yield failed("schema", said, f"{advice[:1].upper()}{advice[1:]}.")
            return
        yield ok("schema", "the tables are those of this version")
        with engine.connect() as connection:
            rights = _rights(connection)
            yield rights
            yield _readers(connection)
            yield _waiting(connection)
            if rights.state is State.OK:
                yield from _fallen_back(connection, settings)
    except DBAPIError as error:
        # The driver's text names host, port and role; never a password.
        yield failed(
            "connection",
            first_line(error.orig or error).strip(),
            "Correct [database] url, start Postgres, or let this host in (pg_hba.conf).",
        )
    finally:
        engine.dispose()


def _clock(connection: Connection) -> Check:
    """Compare the clocks at the middle of the round trip, so that a slow network is no wrong clock."""
    begun = time.monotonic()
    asked_at = datetime.now(UTC)
    theirs: datetime = connection.execute(text("select clock_timestamp()")).scalar_one()
    trip_s = time.monotonic() - begun
    skew_s = (theirs - asked_at).total_seconds() - trip_s / 2
    said = f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} this host"
    if abs(skew_s) - trip_s / 2 > MAX_SKEW_S:
        return failed("clock", said, "Let both hosts follow the same time server (NTP).")
    return ok("clock", said)


def _rights(connection: Connection) -> Check:
    writes = "select has_table_privilege('studies', 'insert') and has_table_privilege('studies', 'update')"
    if connection.execute(text(writes)).scalar_one():
        return ok("rights", "our role may write")
    return failed(
        "rights", "our role may not write the tables", "Use the role that ran `neurotriage migrate`."
    )


def _readers(connection: Connection) -> Check:
    """A reader may read the views and no table: tables hold more than a monitor needs."""
    readers = list(connection.execute(_READERS).scalars())
    if not readers:
        return ok("reader", "no other role may read the views; `neurotriage migrate --reader ROLE` lets one")
    reads_tables = text("select has_table_privilege(:role, 'studies', 'select')")
    wide = [
        role
        for role in readers
        if role == "PUBLIC" or connection.execute(reads_tables, {"role": role}).scalar_one()
    ]
    if wide:
        return warning(
            "reader",
            f"{', '.join(wide)} may read more than the views",
            "Revoke the other rights: a reader needs the views only.",
        )
    return ok("reader", f"{', '.join(readers)} may read the views and no table")


def _waiting(connection: Connection) -> Check:
    """How many studies wait for a worker; urgent ones should not for long."""
    counts = priority.waiting(connection)
    said = ", ".join(f"{count} {name}" for name, count in counts.items()) + " wait to be analysed"
    late = connection.execute(_LATE, {"priority": Priority.URGENT, "limit_s": URGENT_WAIT_S}).scalar_one()
    if late:
        advice = "See that `neurotriage work --role analysis` runs; more of them, or more hosts, serve more."
        return warning("waiting", f"{said}; an urgent one for {late / 60:.0f} min", advice)
    return ok("waiting", said)


def _fallen_back(connection: Connection, settings: Settings) -> Iterator[Check]:
    """Whether a light model stood in for the one that decides; a worker keeps using it until it ends."""
    if settings.worker.models == "light":
        return  # there it decides
    try:
        light = sorted({rule.model for rule in read_registry(settings.worker.weights).rules.light.values()})
    except BadWeights:
        return  # the check of the weights reports it
    studies = connection.execute(_ANSWERED_BY, {"names": light}).scalar_one()
    if studies:
        yield warning(
            "models",
            f"studies of the last day judged by {', '.join(light)} in place of the usual model: {studies}",
            "`neurotriage results` says why. Correct that, and restart `neurotriage work --role analysis`.",
        )
    else:
        yield ok("models", "no light model had to stand in during the last day")
