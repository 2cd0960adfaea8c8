"""The history."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, key


class Event(Base):
    """An entry of the history, written in the transaction of its move."""

    __tablename__ = "events"
    __table_args__ = ({"comment": "One row per change of state: what happened, when, to which study"},)

    id: Mapped[int] = key()
    at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="when it happened")
    study_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("studies.id"), index=True, comment="the study, where there is one"
    )
    revision_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("revisions.id"), index=True, comment="the revision, where there is one"
    )
    kind: Mapped[str] = mapped_column(comment="received, quiet, ready, analysing, analysed, stored, ...")
    detail: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'"), comment="what else is known: worker, attempt, destination, ..."
    )
