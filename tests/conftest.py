"""What tests share: where the data lies, and which outside parts a run insists on."""

import itertools
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from db import migrate
from db.engine import connect
from neurotriage.embedded import EmbeddedPostgres, EmbeddedValkey

ROOT = Path(__file__).resolve().parent.parent


def required() -> frozenset[str]:
    """The parts that must be there: with ``NEUROTRIAGE_REQUIRE=data,dcmtk`` their absence is a failure."""
    return frozenset(filter(None, os.environ.get("NEUROTRIAGE_REQUIRE", "").split(",")))


def absent(part: str, message: str) -> None:
    """Skip because ``part`` is not here, or fail where the run requires it."""
    if part in required():
        pytest.fail(f"{message} (required by NEUROTRIAGE_REQUIRE)")
    pytest.skip(message)


def until(happens: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait for what must come."""
    end = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _logging_stays() -> Iterator[None]:
    """A command that runs inside this process sets up logging for itself alone."""
    root = logging.getLogger()
    before = root.handlers, root.level, sys.excepthook, threading.excepthook
    yield
    root.handlers, root.level, sys.excepthook, threading.excepthook = before


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The evaluation data; a user's clone does not have it."""
    folder = Path(os.environ.get("NEUROTRIAGE_TEST_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not (folder / "manifest.csv").is_file():
        absent("data", f"no test data at {folder}; set NEUROTRIAGE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def dcmtk() -> None:
    """DCMTK's command line tools."""
    if shutil.which("storescu") is None:
        absent("dcmtk", "DCMTK is not installed (Debian: apt install dcmtk)")


@pytest.fixture(scope="session")
def orthanc() -> None:
    """Orthanc as the PACS."""
    if shutil.which("Orthanc") is None:
        absent("orthanc", "Orthanc is not installed (Debian: apt install orthanc)")


@pytest.fixture(scope="session")
def template_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Postgres whose database has the schema and no rows; it is copied, never written to."""
    postgres = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    url = postgres.start()
    engine = connect(url)
    migrate.upgrade(engine)
    engine.dispose()
    yield url
    postgres.stop()
    postgres.remove()


_DATABASES = itertools.count(1)


@contextmanager
def _own_database(template_url: str, copied: str) -> Iterator[str]:
    """A database that is made as a copy of ``copied``, and dropped again; its URL."""
    template = make_url(template_url)
    name = f"test_{next(_DATABASES)}"
    admin = connect(str(template.set(database="postgres").render_as_string(hide_password=False)))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'create database {name} template "{copied}"'))
        yield template.set(database=name).render_as_string(hide_password=False)
        connection.execute(text(f"drop database {name} with (force)"))
    admin.dispose()


@pytest.fixture
def database_url(template_url: str) -> Iterator[str]:
    """A database of this test's own, with the schema."""
    with _own_database(template_url, str(make_url(template_url).database)) as url:
        yield url


@pytest.fixture
def empty_database_url(template_url: str) -> Iterator[str]:
    """A database of this test's own, without a table."""
    with _own_database(template_url, "template1") as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Connected to a database of this test's own."""
    connected = connect(database_url)
    yield connected
    connected.dispose()


_LATER_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "{number}"
down_revision = "{before}"


def upgrade() -> None:
    op.add_column("studies", sa.Column("ward", sa.Text()))


def downgrade() -> None:
    op.drop_column("studies", "ward")
"""


@pytest.fixture
def later_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A made-up revision of the schema after the newest one, as a later version brings it; its number."""
    before = migrate.revisions()[-1]
    number = f"{int(before) + 1:04}"
    folder = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", folder, ignore=shutil.ignore_patterns("__pycache__"))
    made_up = _LATER_REVISION.format(number=number, before=before)
    (folder / "versions" / f"{number}_made_up.py").write_text(made_up)
    monkeypatch.setattr(migrate, "_MIGRATIONS", folder)
    return number


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Valkey."""
    valkey = EmbeddedValkey(tmp_path_factory.mktemp("valkey"), durable=False)
    yield valkey.start()
    valkey.stop()
