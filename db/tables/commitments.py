"""Requests of peers that we commit what we received."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, key


class CommitmentTransaction(Base):
    """A transaction of storage commitment (PS3.4 annex J) in which we are asked."""

    __tablename__ = "commitment_transactions"
    __table_args__ = (
        UniqueConstraint("transaction_uid", "peer_ae_title", "digest"),
        Index("ix_commitment_transactions_open", "next_try_at", postgresql_where=text("state = 'waiting'")),
        {"comment": "Storage commitments that peers asked of us: the newest 10,000 and all that wait"},
    )

    id: Mapped[int] = key()
    transaction_uid: Mapped[str] = mapped_column(comment="(0008,1195)")
    peer_ae_title: Mapped[str] = mapped_column(comment="calling AE title of whoever asked")
    called_ae_title: Mapped[str] = mapped_column(
        comment="the AE title of ours that it asked; we report as it"
    )
    peer_host: Mapped[str] = mapped_column(comment="where we report, as configured when it asked")
    digest: Mapped[str] = mapped_column(comment="SHA-256 of what was asked about: the same again is no other")
    asked: Mapped[list[Any]] = mapped_column(
        JSONB, comment="SOP class and instance of each that was asked about; empty once it has ended"
    )
    failed: Mapped[list[Any]] = mapped_column(
        JSONB,
        server_default=text("'[]'"),
        comment="class, instance and Failure Reason (0008,1197) of what is not committed; once it has ended, "
        "the first 20",
    )
    asked_count: Mapped[int] = mapped_column(Integer, comment="how many instances it asked about")
    failed_count: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="how many of them are not committed"
    )
    state: Mapped[str] = mapped_column(
        server_default=text("'waiting'"), comment="waiting, reported or not_reported"
    )
    requested_at: Mapped[datetime] = mapped_column(comment="when it was answered 0x0000")
    decided_at: Mapped[datetime | None] = mapped_column(comment="when it was decided what is committed")
    attempts: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="how often the report was tried"
    )
    next_try_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="not before")
    last_status: Mapped[str] = mapped_column(
        server_default=text("''"), comment="what became of the last try, in words"
    )
    ended_at: Mapped[datetime | None] = mapped_column(comment="when it was reported or given up")
