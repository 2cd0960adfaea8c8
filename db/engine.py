"""The connection to Postgres, and what its errors mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import ConfigurationError

# A statement or lock that waits longer than this is stuck: fail, and let the caller try again.
_STATEMENT_TIMEOUT_MS = 60_000
_LOCK_TIMEOUT_MS = 20_000
_DRIVER: Final = "postgresql+psycopg2"

# Classes of SQLSTATE (Postgres, appendix A). Whatever the statement was about, it cannot be done now: no
# connection, no right, another schema, a deadlock, no space, a lock, shutting down, a defect of its own.
_SURROUNDINGS: Final = frozenset(
    ("08", "0B", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0", "XX")
)
# These are the value's own fault: out of range, not in this encoding, against a constraint, too large for an
# index.
_VALUES: Final = frozenset(("21", "22", "23", "54"))
_NO_ANSWER: Final = frozenset(("08", "53", "57", "58"))


def connect(url: str, *, pool_size: int = 3) -> Engine:
    """An engine whose connections answer or fail within a limit; vanished hosts are noticed in a minute.

    Raises ``ConfigurationError`` for what is no URL of a Postgres.
    """
    options = (
        f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c lock_timeout={_LOCK_TIMEOUT_MS} "
        f"-c idle_in_transaction_session_timeout={_STATEMENT_TIMEOUT_MS} -c timezone=UTC "
        # The server's own: a session of a host that vanished, and every lock it has, ends as soon.
        "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=4"
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


def is_outage(error: BaseException) -> bool:
    """Whether Postgres, and not the statement's value, is at fault: the same statement can work later."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = _sqlstate(error)
    if state:
        return state[:2] in _SURROUNDINGS
    return isinstance(error, OperationalError | InterfaceError)


def is_unfit_value(error: BaseException) -> bool:
    """Whether a value is at fault that no column takes: the same statement will never work."""
    if isinstance(error, DBAPIError):
        return _sqlstate(error)[:2] in _VALUES
    return isinstance(error, ValueError)  # psycopg2 takes neither NUL nor half a surrogate pair


@contextmanager
def outage_as_unavailable() -> Iterator[None]:
    """Raises ``Unavailable`` where Postgres is at fault; every other error passes as it is."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        if not is_outage(error):
            raise
        raise Unavailable(_words(error)) from error


def _words(error: DBAPIError | PoolTimeoutError) -> str:
    if isinstance(error, PoolTimeoutError):
        return "Postgres does not answer: no connection became free"
    state, name = _sqlstate(error), type(error.orig).__name__
    if not state or state[:2] in _NO_ANSWER:
        return f"Postgres does not answer: {name}"
    return f"Postgres answers, but cannot do this now: {name} ({state})"


def _sqlstate(error: DBAPIError) -> str:
    """Five characters; empty where the error is the driver's and not the server's."""
    return getattr(error.orig, "pgcode", None) or ""


def _postgres(url: str) -> URL:
    """The URL for the driver that is installed, also where it is written as for psql."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername not in ("postgresql", "postgres", _DRIVER):
        raise ConfigurationError("database.url: not of the form postgresql://user:password@host:5432/name")
    return parsed.set(drivername=_DRIVER)
