"""Frozen studies."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, key, parent


class Revision(Base):
    """A frozen study with its lease: see ``db.studies.leases`` for who may change it."""

    __tablename__ = "revisions"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        Index("ix_revisions_ended_at", "ended_at", postgresql_where=text("ended_at is not null")),
        {"comment": "A frozen list of a study's instances, and how far its analysis has come"},
    )

    id: Mapped[int] = key()
    study_id: Mapped[int] = parent("studies.id")
    number: Mapped[int] = mapped_column(Integer, comment="1 for the first revision of a study")
    state: Mapped[str] = mapped_column(
        index=True, comment="ready, analysing, analysed, unchanged, failed, cancelled or withdrawn"
    )
    superseded: Mapped[bool] = mapped_column(
        server_default=text("false"), comment="a newer revision was analysed, or it was withdrawn"
    )
    digest: Mapped[str] = mapped_column(comment="SHA-256 over the instances, hex")
    completed_by: Mapped[str] = mapped_column(comment="the evidence that completed the study")
    ready_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="when the study was complete"
    )
    waiting_since: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="since when it waits for a worker; anew after a failed attempt"
    )
    passed_over: Mapped[int] = mapped_column(
        Integer,
        server_default=text("0"),
        comment="how often a more urgent one was taken while it was the oldest of its class",
    )
    rung_at: Mapped[datetime | None] = mapped_column(comment="when the queue was last told")
    owner: Mapped[str | None] = mapped_column(comment="the process that holds the lease")
    attempt: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="how often a worker took it"
    )
    token: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="raised by each claim; a stale holder changes nothing"
    )
    lease_until: Mapped[datetime | None] = mapped_column(comment="until when its worker is believed to live")
    ended_at: Mapped[datetime | None] = mapped_column(comment="when the analysis ended")
    last_error: Mapped[str | None] = mapped_column(comment="traceback of the last failed attempt")
    conflict: Mapped[str | None] = mapped_column(comment="why it must not be analysed, if so")


class RevisionInstance(Base):
    """An instance of a frozen study."""

    __tablename__ = "revision_instances"
    __table_args__ = ({"comment": "Which instances a revision froze"},)

    revision_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("revisions.id"), primary_key=True, comment="the revision"
    )
    instance_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("instances.id"), primary_key=True, index=True, comment="an instance in it"
    )
