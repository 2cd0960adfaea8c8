"""Studies about which models of others are asked, and what was said."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, key, parent


class SummaryRequest(Base):
    """A study about which models of others are to be asked, with the lease of whoever asks."""

    __tablename__ = "summary_requests"
    __table_args__ = (
        Index("ix_summary_requests_open", "created_at", postgresql_where=text("ended_at is null")),
        {"comment": "Studies about which models of others were to be asked, and what became of it"},
    )

    id: Mapped[int] = key()
    analysis_id: Mapped[int] = parent("analyses.id")
    state: Mapped[str] = mapped_column(
        server_default=text("'waiting'"), comment="waiting, asking, accepted, refused, late or overtaken"
    )
    reason: Mapped[str] = mapped_column(
        server_default=text("''"), comment="why the text of the template stays, if so"
    )
    created_at: Mapped[datetime] = mapped_column(
        server_default=func.clock_timestamp(), comment="from when on its time runs"
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
    opinion_reason: Mapped[str] = mapped_column(
        server_default=text("''"), comment="why there is no second opinion, if one was wanted"
    )
    ended_at: Mapped[datetime | None] = mapped_column(
        comment="when it was accepted, or the template's stayed"
    )


class SummaryExchange(Base):
    """One request to the provider. A row without ``took_s``: the process ended before the answer."""

    __tablename__ = "summary_exchanges"
    __table_args__ = (
        Index("ix_summary_exchanges_purpose_id", "purpose", "id"),
        {"comment": "What models of others were asked and answered: facts and text only"},
    )

    id: Mapped[int] = key()
    request_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("summary_requests.id"), index=True, comment="see summary_requests.id"
    )
    purpose: Mapped[str] = mapped_column(
        server_default=text("'text'"), comment="text: a text; opinion: a second opinion"
    )
    asked_at: Mapped[datetime] = mapped_column(
        server_default=func.clock_timestamp(), comment="when the request was made"
    )
    took_s: Mapped[float | None] = mapped_column(Double, comment="seconds until it ended")
    request: Mapped[list[Any] | None] = mapped_column(JSONB, comment="what was sent; pictures as SHA-256")
    answer: Mapped[str | None] = mapped_column(comment="the words of the model; empty where none came")
    fault: Mapped[str | None] = mapped_column(comment="what went wrong between us and the provider, if so")
    detail: Mapped[str] = mapped_column(server_default=text("''"), comment="the same in words")
    refusals: Mapped[list[Any]] = mapped_column(
        JSONB, server_default=text("'[]'"), comment="what of the answer was refused, and why"
    )
