"""How a process tells that it runs: it renews a row of its own, by the database's clock, until it ends."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from db.clock import seconds
from db.engine import outage_as_unavailable
from db.operations.processes import FORGET_AFTER_S, LoadedModel
from db.tables import Process
from neurotriage import __version__

BEAT_EVERY_S: Final = 10.0


class Presence:
    """The row of the process that makes it, in a role: told every ``BEAT_EVERY_S``, deleted at its end."""

    def __init__(self, engine: Engine, role: str) -> None:
        self._engine = engine
        self._host, self._role, self._pid = socket.gethostname(), role, os.getpid()
        self._arrived = False

    def tell(self, device: str = "", models: Sequence[LoadedModel] = ()) -> None:
        """Tell that this process runs, and what it has loaded. Raises ``Unavailable`` without Postgres."""
        told = {"device": device, "models": [asdict(model) for model in models]}
        with outage_as_unavailable(), self._engine.begin() as connection:
            if not self._arrived:
                self._arrive(connection)
            is_there = connection.execute(
                update(Process)
                .where(*self._of_our_role(), Process.pid == self._pid)
                .values(last_seen_at=func.clock_timestamp(), **told)
            ).rowcount
        self._arrived = is_there == 1  # it was forgotten, as after a day without Postgres: next time anew

    def leave(self) -> None:
        """Delete the row: the process ends in good order. Where Postgres is away it stays, as of one gone."""
        with suppress(SQLAlchemyError), self._engine.begin() as connection:
            connection.execute(delete(Process).where(*self._of_our_role(), Process.pid == self._pid))

    def _arrive(self, connection: Connection) -> None:
        """Add the row. Those of processes of our host and role that were killed go, and any long silent."""
        pids = connection.execute(select(Process.pid).where(*self._of_our_role())).scalars()
        ended = [pid for pid in pids if pid == self._pid or not _runs(pid)]
        silent = Process.last_seen_at < func.clock_timestamp() - seconds(FORGET_AFTER_S)
        connection.execute(
            delete(Process).where(or_(and_(*self._of_our_role(), Process.pid.in_(ended)), silent))
        )
        connection.execute(
            insert(Process).values(
                host=self._host, role=self._role, pid=self._pid, software_version=__version__
            )
        )

    def _of_our_role(self) -> tuple[ColumnElement[bool], ...]:
        return Process.host == self._host, Process.role == self._role


def _runs(pid: int) -> bool:
    """Whether a process of this host has the id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
