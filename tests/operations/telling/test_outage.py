"""What the watch tells while Postgres is away, or takes no row."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from db.engine import connect
from db.operations import alarms as rows
from db.operations.presence import Presence
from neurotriage.core.process.running import LISTENER
from tests.operations.telling.receivers import WebServer, mail_server
from tests.operations.telling.watching import looks, past, watcher_of


@contextmanager
def _postgres_away(url: str) -> Iterator[None]:
    """The database takes no connection, and those that there are end."""
    name = make_url(url).database
    admin = connect(make_url(url).set(database="postgres").render_as_string(hide_password=False))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"alter database {name} allow_connections false"))
        connection.execute(
            text("select pg_terminate_backend(pid) from pg_stat_activity where datname = :name"),
            {"name": name},
        )
        yield
        connection.execute(text(f"alter database {name} allow_connections true"))
    admin.dispose()


def test_without_postgres_that_is_told_once_and_its_end_too(
    engine: Engine, database_url: str, tmp_path: Path, server: WebServer
) -> None:
    watcher = watcher_of(engine, tmp_path, webhook=server.settings())
    looks(watcher, 2)
    server.bodies.clear()
    server.answers = [500]
    with _postgres_away(database_url):
        looks(watcher, 4)
        assert server.told() == [("began", "unknown")]
        assert "Postgres does not answer" in server.bodies[0]["alarms"][0]["text"]
    looks(watcher, 4)
    assert server.told() == [("began", "unknown"), ("ended", "unknown")]  # and nothing else began or ended
    (outage,) = [alarm for alarm in past(engine) if alarm.code == "unknown"]
    assert outage.ended_at is not None
    assert outage.found_at < outage.ended_at


@contextmanager
def _disk_of_postgres_full(engine: Engine, table: str = "alarms", only: str = "") -> Iterator[None]:
    """Every table can be read, and one takes no row."""
    full = "$$ begin raise exception using errcode = 'disk_full'; end $$"
    with engine.begin() as connection:
        connection.execute(text(f"create function full_disk() returns trigger language plpgsql as {full}"))
        connection.execute(
            text(
                "create trigger full_disk before insert or update on "
                f"{table} for each row when (new.id is not null{only}) execute function full_disk()"
            )
        )
    yield
    with engine.begin() as connection:
        connection.execute(text("drop function full_disk cascade"))


def test_that_tables_take_no_row_is_told_once_and_its_end_too(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    watcher = watcher_of(engine, tmp_path, webhook=server.settings())
    server.answers = [500]
    with _disk_of_postgres_full(engine):
        looks(watcher, 4)
        assert server.told() == [("began", "unknown")]
        assert "DiskFull" in server.bodies[0]["alarms"][0]["text"]
    looks(watcher, 1)
    assert server.told()[1:] == [("ended", "unknown")]
    looks(watcher, 2)
    assert server.told()[2:] == [("began", "role_absent")] * 3


def test_what_was_sent_and_cannot_be_noted_is_sent_no_second_time_and_noted_later(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    with mail_server(tmp_path) as mail:
        watcher = watcher_of(engine, tmp_path, mail=mail.settings(), webhook=server.settings())
        with _disk_of_postgres_full(engine, "alarm_notices", " and new.sent_at is not null"):
            looks(watcher, 4)
            assert len(mail.mails) == len(server.bodies) == 1
            Presence(engine, LISTENER).tell()
            looks(watcher, 2)
        assert server.told()[3:] == [("ended", "role_absent")]  # what comes later is told all the same
        looks(watcher, 1)
        assert len(mail.mails) == len(server.bodies) == 2
    notices = [notice for alarm in past(engine) for notice in alarm.notices]
    assert len(notices) == 8
    assert all(notice.sent_at for notice in notices)


def test_its_end_is_told_also_where_another_process_watches_just_then(
    engine: Engine, database_url: str, tmp_path: Path, server: WebServer
) -> None:
    watcher = watcher_of(engine, tmp_path, webhook=server.settings())
    with _postgres_away(database_url):
        looks(watcher, 2)
    with rows.watching(engine) as other:
        assert other
        looks(watcher, 1)
    looks(watcher, 2)
    assert server.told()[:2] == [("began", "unknown"), ("ended", "unknown")]


def test_the_end_of_an_outage_is_told_though_the_clock_of_postgres_is_behind(
    engine: Engine, database_url: str, tmp_path: Path, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = watcher_of(engine, tmp_path, webhook=server.settings())
    with _postgres_away(database_url):
        looks(watcher, 2)
    behind = datetime.now(UTC) - timedelta(minutes=5)
    monkeypatch.setattr(rows, "now", lambda _: behind)
    looks(watcher, 1)
    assert server.told() == [("began", "unknown"), ("ended", "unknown")]
    (outage,) = [alarm for alarm in past(engine) if alarm.code == "unknown"]
    assert outage.ended_at is not None
    assert outage.found_at <= outage.ended_at


def test_a_short_outage_of_postgres_is_not_told(
    engine: Engine, database_url: str, tmp_path: Path, server: WebServer
) -> None:
    watcher = watcher_of(engine, tmp_path, webhook=server.settings(), after_s=300)
    with _postgres_away(database_url):
        looks(watcher, 3)
    looks(watcher, 3)
    assert server.requests == 0
