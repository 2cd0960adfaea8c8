"""The processes that run, as they tell it themselves."""

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, key


class Process(Base):
    """A process of a role; it deletes its row when it ends in good order."""

    __tablename__ = "processes"
    __table_args__ = (
        UniqueConstraint("host", "role", "pid"),
        {"comment": "Processes that run: each renews its row every 10 s, and deletes it when it ends"},
    )

    id: Mapped[int] = key()
    host: Mapped[str] = mapped_column(comment="host name, in a container that of the container")
    role: Mapped[str] = mapped_column(
        comment="listen (told by its ingester), analysis, delivery, summary or watch"
    )
    pid: Mapped[int] = mapped_column(Integer, comment="process id on its host")
    software_version: Mapped[str] = mapped_column(comment="of neurotriage")
    started_at: Mapped[datetime] = mapped_column(
        server_default=func.clock_timestamp(), comment="when it first told"
    )
    last_seen_at: Mapped[datetime] = mapped_column(
        server_default=func.clock_timestamp(), comment="when it last told; older than a minute: it is gone"
    )
    device: Mapped[str] = mapped_column(
        server_default=text("''"), comment="cpu or cuda; empty where it runs no model, or not yet"
    )
    models: Mapped[list[Any]] = mapped_column(
        JSONB,
        server_default=text("'[]'"),
        comment="name, version and engine of each loaded model",
    )
