"""A URL may be written as for psql; an error of the data is kept apart from one of Postgres."""

import threading
from collections.abc import Callable

import psycopg2
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from db.engine import connect, is_outage, is_unfit_value, outage_as_unavailable
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import ConfigurationError


@pytest.mark.unit
@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_a_url_as_for_psql_is_taken(scheme: str) -> None:
    engine = connect(f"{scheme}://me:p%40ss@db:5433/mine")
    assert (engine.url.drivername, engine.url.password) == ("postgresql+psycopg2", "p@ss")
    assert (engine.url.host, engine.url.port, engine.url.database) == ("db", 5433, "mine")


@pytest.mark.unit
@pytest.mark.parametrize("url", ["", "db:5432", "mysql://me@db/mine", "postgresql+asyncpg://me@db/mine"])
def test_what_is_no_postgres_is_refused_by_the_name_of_its_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^database\.url: "):
        connect(url)


def _error_of(engine: Engine, statement: str, **values: object) -> Exception:
    with pytest.raises(Exception) as caught, engine.begin() as connection:  # noqa: PT011 - any
        connection.execute(text(statement), values)
    return caught.value


VALUES = {
    "NUL": ("select cast(:v as text)", "a\0b"),
    "half a surrogate pair": ("select cast(:v as text)", "\ud83d"),
    "out of range": ("select cast(:v as bigint)", 2**70),
    "too long for an index": ("insert into refused_contexts values (default, '', '', '', :v)", ""),
    "twice": ("insert into installation (uid) select uid from installation where :v = 1", 1),
    "empty": ("insert into installation (uid) values (cast(:v as text))", None),
    "no such character": ("select convert_from(cast(:v as bytea), 'UTF8')", b"\xff"),
}


@pytest.mark.parametrize("what", VALUES)
def test_a_value_that_fits_nowhere_is_no_outage(engine: Engine, what: str) -> None:
    statement, value = VALUES[what]
    if what == "too long for an index":
        # Not to be compressed away: an index holds 2.7 kB of it.
        value = " ".join(str(hash((number, "x"))) for number in range(3000))
    error = _error_of(engine, statement, v=value)
    assert is_unfit_value(error), error
    assert not is_outage(error)
    with pytest.raises(type(error)), outage_as_unavailable():
        raise error


def test_the_error_of_an_index_is_of_the_class_that_was_taken_for_an_outage(engine: Engine) -> None:
    """What stopped every analysis: SQLAlchemy calls it an OperationalError, as it calls a dead server."""
    value = " ".join(str(hash((number, "x"))) for number in range(3000))
    error = _error_of(engine, VALUES["too long for an index"][0], v=value)
    assert isinstance(error, OperationalError)


OUTAGES: dict[str, Callable[[Engine], Exception]] = {
    "no table": lambda engine: _error_of(engine, "select * from nothing_like_it"),
    "no right": lambda engine: _error_of(engine, "create role r_o; set role r_o; select * from studies"),
    "too slow": lambda engine: _error_of(engine, "set local statement_timeout = 1; select pg_sleep(1)"),
    "killed": lambda engine: _error_of(engine, "select pg_terminate_backend(pg_backend_pid())"),
    "read only": lambda engine: _error_of(engine, "set transaction read only; create table t (i int)"),
    "nobody there": lambda _: _error_of(create_engine("postgresql+psycopg2://x@127.0.0.1:1/x"), "select 1"),
    "no such database": lambda engine: _error_of(
        create_engine(engine.url.set(database="nothing_like_it")), "select 1"
    ),
    "all connections taken": lambda engine: _all_taken(engine),
}


def _all_taken(engine: Engine) -> Exception:
    small = create_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    with small.connect():
        error = _error_of(small, "select 1")
    small.dispose()
    return error


@pytest.mark.parametrize("what", OUTAGES)
def test_what_postgres_cannot_do_now_is_no_fault_of_the_data(engine: Engine, what: str) -> None:
    error = OUTAGES[what](engine)
    assert is_outage(error), error
    assert not is_unfit_value(error)
    with pytest.raises(Unavailable, match="Postgres"), outage_as_unavailable():
        raise error


def test_a_deadlock_is_tried_again(engine: Engine) -> None:
    """Two transactions that wait for each other: Postgres ends one of them."""
    both = threading.Barrier(2)
    errors: list[Exception] = []

    def take(first: int, second: int) -> None:
        try:
            with engine.begin() as connection:
                connection.execute(text("select pg_advisory_xact_lock(:n)"), {"n": first})
                both.wait(10)
                connection.execute(text("select pg_advisory_xact_lock(:n)"), {"n": second})
        except DBAPIError as error:
            errors.append(error)

    threads = [threading.Thread(target=take, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [is_outage(error) for error in errors] == [True]


def test_a_lock_of_a_host_that_vanished_ends_within_minutes(engine: Engine) -> None:
    """Postgres notices a lost peer by its own keep-alives: by default after two hours and more."""
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
    mine = connect(engine.url.render_as_string(hide_password=False))
    with mine.connect() as connection:
        idle_s, interval_s, count = (
            int(connection.execute(text(f"show {name}")).scalar_one()) for name in names
        )
    mine.dispose()
    assert 0 < idle_s + interval_s * count <= 120


@pytest.mark.unit
def test_a_bug_is_neither_an_outage_nor_the_fault_of_a_value() -> None:
    for error in (KeyError("x"), TypeError("x"), psycopg2.ProgrammingError("x")):
        assert not is_outage(error)
        assert not is_unfit_value(error)
