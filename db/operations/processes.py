"""Which processes run, as they tell it (``db.operations.presence``), by the database's clock."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select

from db.clock import seconds
from db.tables import Process

# Several beats (``db.operations.presence``) may fail before a process counts as gone.
GONE_AFTER_S: Final = 60.0
# Rows of hosts that never came back, such as containers that were replaced.
FORGET_AFTER_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that a process has loaded."""

    name: str
    version: str
    engine: str


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A process as it told of itself."""

    host: str
    role: str
    pid: int
    software_version: str
    started_at: datetime
    last_seen_at: datetime
    silent_s: float  # since it last told
    device: str
    models: tuple[LoadedModel, ...]

    @property
    def is_gone(self) -> bool:
        """Whether it has been silent for so long that it no longer runs, or hangs."""
        return self.silent_s > GONE_AFTER_S


def processes(connection: Connection) -> tuple[RunningProcess, ...]:
    """Every process that told within a day that it runs, by role, host and process id."""
    silent_s = func.extract("epoch", func.clock_timestamp() - Process.last_seen_at)
    columns = Process.__table__.c
    rows = connection.execute(
        select(
            columns.host,
            columns.role,
            columns.pid,
            columns.software_version,
            columns.started_at,
            columns.last_seen_at,
            silent_s.label("silent_s"),
            columns.device,
            columns.models,
        )
        .where(Process.last_seen_at >= func.clock_timestamp() - seconds(FORGET_AFTER_S))
        .order_by(columns.role, columns.host, columns.pid)
    ).mappings()
    return tuple(
        RunningProcess(
            **{
                **row,
                "silent_s": float(row["silent_s"]),
                "models": tuple(LoadedModel(**model) for model in row["models"]),
            }
        )
        for row in rows
    )
