"""Reads the facts: a few queries, each in a read-only transaction of its own, and two looks at the disk."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from db import pauses
from db.engine import is_outage, outage_as_unavailable
from db.operations.alarms import standing
from db.operations.arrivals import PeerArrivals, arrivals
from db.operations.destinations import destinations
from db.operations.flow import flow
from db.operations.processes import processes
from db.operations.queue import queue
from db.operations.sizes import sizes
from neurotriage.core.certificates import Expiry, expiries
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import ConfigurationError, Settings
from neurotriage.core.spool_files import names_in, written_at
from neurotriage.core.storage import Storage
from neurotriage.operations.facts import DiskFacts, Facts, Section

# A section that takes longer is left out: whoever asks would rather see the others.
_STATEMENT_LIMIT_MS: Final = 5_000
# What is asked for was written lately and lies in memory: an index finds it at the same cost in any history.
BY_INDEX: Final = "set local random_page_cost = 1.1"

_QUERIES: Final[Mapping[Section, Callable[[Connection], Any]]] = {
    Section.QUEUE: queue,
    Section.PROCESSES: processes,
    Section.FLOW: flow,
    Section.DESTINATIONS: destinations,
    Section.SIZES: sizes,
    Section.PAUSES: pauses.standing,
    Section.STANDING: standing,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for only where the configuration says so."""

    arrivals_within_s: float = 0.0  # 0: not asked for
    certificates: tuple[Path, ...] = ()


def wanted(settings: Settings) -> Wanted:
    """What this configuration asks for: arrivals, and our certificates of ports and destinations."""
    ports = [port.tls for port in settings.listener.ports]
    servers = [*ports, settings.stow.tls if settings.stow is not None else None]
    tables = [*servers, *(item.tls for item in settings.destination)]
    files = [tls.certificate for tls in tables if tls is not None and tls.certificate is not None]
    return Wanted(settings.operations.silent_alarm_h * 3600, tuple(dict.fromkeys(files)))


def gather(engine: Engine, storage: Storage, asked: Wanted = Wanted()) -> Facts:
    """The facts now. What cannot be had is named in ``missing``; nothing is raised for it."""
    queries: dict[Section, Callable[[Connection], Any]] = {
        **_QUERIES,
        Section.ARRIVALS: partial(_arrivals, within_s=asked.arrivals_within_s),
    }
    found: dict[Section, Any] = {}
    missing: dict[Section, str] = {}
    reader = engine.execution_options(postgresql_readonly=True)
    for section, query in queries.items():
        try:
            with outage_as_unavailable(), reader.begin() as connection:
                connection.execute(text(f"set local statement_timeout = {_STATEMENT_LIMIT_MS}; {BY_INDEX}"))
                found[section] = query(connection)
        except Unavailable as error:
            missing[section] = str(error)
            if _is_away(error):
                missing |= {other: str(error) for other in queries if other not in found}
                break
    try:
        found[Section.DISK] = _disk(storage)
    except OSError as error:
        missing[Section.DISK] = f"{error.filename or storage.root}: {error.strerror}"
    return Facts(
        at=datetime.now(UTC),
        missing=missing,
        certificates=tuple(_expiries(asked.certificates)),
        **{section.value: value for section, value in found.items()},
    )


def _is_away(error: Unavailable) -> bool:
    """Whether no connection can be had, so that every other query would wait in vain, too."""
    cause = error.__cause__
    return not isinstance(cause, DBAPIError) or (is_outage(cause) and cause.statement is None)


def _arrivals(connection: Connection, within_s: float) -> tuple[PeerArrivals, ...]:
    return arrivals(connection, within_s) if within_s else ()


def _expiries(files: tuple[Path, ...]) -> Iterator[Expiry]:
    """A file that another host has, or that is another user's, is no news here: the doctor tells it there."""
    for file in files:
        with suppress(ConfigurationError):
            yield from expiries(file)


def _disk(storage: Storage) -> DiskFacts:
    """Raises ``OSError`` where there is no storage folder."""
    free_bytes, total_bytes = storage.free_bytes(), storage.total_bytes()
    folders = [storage.spool(name) / "new" for name in names_in(storage.spools)]
    names = [(name, folder) for folder in folders for name in names_in(folder) if name.endswith(".dcm")]
    oldest = min(names, default=None)
    oldest_at = None if oldest is None else written_at(oldest[1] / oldest[0])
    return DiskFacts(total_bytes, free_bytes, len(names), oldest_at)
