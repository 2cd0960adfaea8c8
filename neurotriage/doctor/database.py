"""Postgres: does it answer, is it ours, does its clock agree, and who may read it?"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from db import migrate
from db.engine import connect
from neurotriage.core.settings import ConfigurationError, Settings
from neurotriage.dicom.headers import first_line
from neurotriage.doctor.check import Check, State, failed, ok, warning
from worker.vision import BadWeights, read_registry

# Leases run by the database's clock and results are dated by ours; people compare the two.
MAX_SKEW_S: Final = 2.0

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
    """Connection, clock, schema, our rights and readers, and which models answered of late."""
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
    """The middle of the question's way there and back is compared, so a slow network is not a wrong clock."""
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
    """A reader sees the view for people and no table: tables hold more than a monitor needs."""
    readers = list(connection.execute(_READERS).scalars())
    if not readers:
        return ok("reader", "no other role may read; `neurotriage migrate --reader ROLE` lets one")
    mask = text("select has_table_privilege(:role, 'studies', 'select')")
    wide = [
        role for role in readers if role == "PUBLIC" or connection.execute(mask, {"role": role}).scalar_one()
    ]
    if wide:
        return warning(
            "reader",
            f"{', '.join(wide)} may read more than the views",
            "Revoke what is too much: a reader needs study_results only.",
        )
    return ok("reader", f"{', '.join(readers)} may read the views and no table")


def _fallen_back(connection: Connection, settings: Settings) -> Iterator[Check]:
    """Whether a light model stands in for one that decides: a worker keeps to it until it ends."""
    if settings.worker.models == "light":
        return  # there it decides
    try:
        light = sorted({rule.model for rule in read_registry(settings.worker.weights).rules.light.values()})
    except BadWeights:
        return  # told where the weights are looked at
    studies = connection.execute(_ANSWERED_BY, {"names": light}).scalar_one()
    if studies:
        yield warning(
            "models",
            f"{', '.join(light)} answered in place of the model that decides: {studies} studies in a day",
            "`neurotriage results` notes why. Mend it, and restart `neurotriage work --role analysis`.",
        )
    else:
        yield ok("models", "no light model had to answer in the last day")
