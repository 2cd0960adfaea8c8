"""Which file of the storage has which content: a SQLite file, as there may be millions of them."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from neurotriage.backup.objects import Content

_TABLE = (
    "create table files (path text primary key, size_bytes integer, mtime_ns integer, sha256 text)"
    " without rowid"
)
_FILES = "select path, size_bytes, mtime_ns, sha256 from files where sha256 is not null"
_MISSING = "select path from files where sha256 is null and path > ? order by path limit 1000"


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file below the storage root as it was copied."""

    path: str
    content: Content
    mtime_ns: int


class Listing:
    """The files of a backup, and those that rows name and the storage lacked."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def name(self, paths: Iterable[str]) -> None:
        """List files that are to be copied; each is missing until it was ``put``."""
        self._connection.executemany("insert or ignore into files (path) values (?)", ((p,) for p in paths))

    def put(self, file: ListedFile) -> None:
        self._connection.execute(
            "insert or replace into files values (?, ?, ?, ?)",
            (file.path, file.content.size_bytes, file.mtime_ns, file.content.sha256),
        )

    def get(self, path: str) -> ListedFile | None:
        row = self._connection.execute(f"{_FILES} and path = ?", (path,)).fetchone()
        return None if row is None else _file(row)

    def files(self) -> Iterator[ListedFile]:
        """Every file, in the order of paths. The list must not change meanwhile."""
        return map(_file, self._connection.execute(f"{_FILES} order by path"))

    def missing(self) -> Iterator[str]:
        """Files that were named and not put, in the order of paths; they may be put meanwhile."""
        after = ""
        while rows := self._connection.execute(_MISSING, (after,)).fetchall():
            yield from (path for (path,) in rows)
            after = rows[-1][0]

    def has_content(self, sha256: str) -> bool:
        row = self._connection.execute("select 1 from files where sha256 = ?", (sha256,)).fetchone()
        return row is not None

    @property
    def totals(self) -> tuple[int, int, int]:
        """Number of files, their size in bytes, and number of those that are missing."""
        question = "select count(sha256), coalesce(sum(size_bytes), 0), count(*) - count(sha256) from files"
        files, size_bytes, missing = self._connection.execute(question).fetchone()
        return files, size_bytes, missing


@contextmanager
def new_listing(path: Path) -> Iterator[Listing]:
    """An empty list, written to ``path``: whole when the block has ended."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as connection:
        # It is copied when it is whole, and made anew after a fault.
        connection.execute("pragma journal_mode = off")
        connection.execute("pragma synchronous = off")
        connection.execute(_TABLE)
        yield Listing(connection)
        connection.execute("create index by_content on files (sha256)")
        connection.commit()


@contextmanager
def read_listing(path: Path) -> Iterator[Listing]:
    """A list that was written before; it is not changed."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        yield Listing(connection)


def _file(row: tuple[str, int, int, str]) -> ListedFile:
    path, size_bytes, mtime_ns, sha256 = row
    return ListedFile(path, Content(sha256=sha256, size_bytes=size_bytes), mtime_ns)
