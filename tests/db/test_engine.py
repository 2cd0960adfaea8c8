"""The URL of the database may be written as for psql; what is none is told by the name of its setting."""

import pytest

from db.engine import connect
from neurotriage.core.settings import ConfigurationError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_a_url_as_for_psql_is_taken(scheme: str) -> None:
    engine = connect(f"{scheme}://me:p%40ss@db:5433/mine")
    assert (engine.url.drivername, engine.url.password) == ("postgresql+psycopg2", "p@ss")
    assert (engine.url.host, engine.url.port, engine.url.database) == ("db", 5433, "mine")


@pytest.mark.parametrize("url", ["", "db:5432", "mysql://me@db/mine", "postgresql+asyncpg://me@db/mine"])
def test_what_is_no_postgres_is_refused_by_the_name_of_its_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^database\.url: "):
        connect(url)
