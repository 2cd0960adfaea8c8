"""The connection to Postgres."""

from typing import Final

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError

from neurotriage.core.settings import ConfigurationError

# A statement or lock that waits longer than this is stuck: fail, and let the caller try again.
_STATEMENT_TIMEOUT_MS = 60_000
_LOCK_TIMEOUT_MS = 20_000
_DRIVER: Final = "postgresql+psycopg2"


def connect(url: str, *, pool_size: int = 3) -> Engine:
    """An engine whose connections answer or fail within a limit; vanished hosts are noticed in a minute.

    Raises ``ConfigurationError`` for what is no URL of a Postgres.
    """
    options = (
        f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c lock_timeout={_LOCK_TIMEOUT_MS} "
        f"-c idle_in_transaction_session_timeout={_STATEMENT_TIMEOUT_MS} -c timezone=UTC"
    )
    return create_engine(
        _postgres(url),
        pool_size=pool_size,
        max_overflow=2,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's text ends up in logs, and parameters hold patients' ids
        connect_args={
            "connect_timeout": 5,
            "options": options,
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 4,
        },
    )


def _postgres(url: str) -> URL:
    """The URL for the driver that is installed, also where it is written as for psql."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername not in ("postgresql", "postgres", _DRIVER):
        raise ConfigurationError("database.url: not of the form postgresql://user:password@host:5432/name")
    return parsed.set(drivername=_DRIVER)
