"""Deliveries, and who may send."""

from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, key, parent

# What an admin may have to look at: it is to be sent, or an alarm stands.
OPEN: Final = "state in ('held', 'waiting', 'sending') or alarmed_at is not null"


class Delivery(Base):
    """A result object on its way to a destination, and the proof that it arrived."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("result_object_id", "destination"),
        Index("ix_deliveries_due", "destination", "state", "next_try_at"),
        Index("ix_deliveries_unproven", "destination", "proof_due_at"),
        Index("ix_deliveries_stored_at", "stored_at", postgresql_where=text("stored_at is not null")),
        Index("ix_deliveries_open", "destination", postgresql_where=text(OPEN)),
        {"comment": "One result object to one destination"},
    )

    id: Mapped[int] = key()
    result_object_id: Mapped[int] = parent("result_objects.id")
    destination: Mapped[str] = mapped_column(
        comment="name in the configuration; behind a slash the peer that sent the study"
    )
    state: Mapped[str] = mapped_column(comment="held, waiting, sending, stored, refused or given_up")
    waiting_since: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="since when it has waited without a break"
    )
    alarmed_at: Mapped[datetime | None] = mapped_column(
        comment="when somebody should have a look: it waits for long, or cannot be proven"
    )
    failures: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="answers that may stand for a defect of the object itself"
    )
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"), comment="how often it was tried")
    last_status: Mapped[str] = mapped_column(server_default=text("''"), comment="in plain words")
    comment: Mapped[str] = mapped_column(
        server_default=text("''"),
        comment="the destination's own words with its last answer; may quote a header",
    )
    next_try_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="not before")
    stored_at: Mapped[datetime | None] = mapped_column(comment="when the destination said success")
    committed_at: Mapped[datetime | None] = mapped_column(comment="storage commitment, a proof")
    found_at: Mapped[datetime | None] = mapped_column(comment="found by query, a proof")
    proof: Mapped[str] = mapped_column(
        server_default=text("''"), comment="how far proving it has come, in plain words"
    )
    proof_due_at: Mapped[datetime | None] = mapped_column(
        comment="when to look for a proof next; empty where there is one or none can be had"
    )
    proof_tries: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="how often a proof was looked for"
    )
    commitment_uid: Mapped[str | None] = mapped_column(
        index=True, comment="transaction of the storage commitment that was asked for"
    )
    commitment_ae_title: Mapped[str | None] = mapped_column(
        comment="AE title that was asked for storage commitment, the only one whose report counts"
    )
    resends: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="how often it was sent again because it got lost there"
    )


class DestinationLease(Base):
    """The right to send to a destination: see ``db.delivery.destinations``."""

    __tablename__ = "destination_leases"
    __table_args__ = ({"comment": "Which process may send to a destination right now"},)

    destination: Mapped[str] = mapped_column(
        primary_key=True, comment="name in the configuration; behind a slash the peer that sent the study"
    )
    owner: Mapped[str | None] = mapped_column(comment="the process that sends")
    token: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="raised by each sender; a stale one changes nothing"
    )
    lease_until: Mapped[datetime | None] = mapped_column(comment="until when its sender is believed to live")
    rung_at: Mapped[datetime | None] = mapped_column(comment="when the queue was last told")
    no_queries_until: Mapped[datetime | None] = mapped_column(
        comment="until when it is asked nothing, because it left a query unanswered"
    )
