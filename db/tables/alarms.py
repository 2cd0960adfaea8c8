"""Alarms as they were found and told."""

from datetime import datetime

from sqlalchemy import Boolean, ForeignKey, Index, Integer, UniqueConstraint, func
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, key


class AlarmRow(Base):
    """An alarm from when it was found to when it was gone; the row stays as history."""

    __tablename__ = "alarms"
    __table_args__ = (
        Index("uq_alarms_standing", "code", "subject", unique=True, postgresql_where=sql("ended_at is null")),
        {"comment": "Alarms, one row from when a cause was found to when it was gone; rows stay"},
    )

    id: Mapped[int] = key()
    code: Mapped[str] = mapped_column(comment="kind of alarm, see docs/admin.md")
    subject: Mapped[str] = mapped_column(
        comment="class, role, process or destination; empty: the installation"
    )
    since: Mapped[datetime | None] = mapped_column(comment="since when, as tables or disk say it, if they do")
    text: Mapped[str] = mapped_column(comment="a sentence, as last found")
    count: Mapped[int | None] = mapped_column(
        Integer, comment="of studies, objects or files as last found; empty where nothing is counted"
    )
    found_at: Mapped[datetime] = mapped_column(
        server_default=func.clock_timestamp(), comment="when it was first found"
    )
    last_found_at: Mapped[datetime] = mapped_column(
        server_default=func.clock_timestamp(), comment="when it was last found"
    )
    notified_at: Mapped[datetime | None] = mapped_column(
        comment="when its begin was last given to the channels; each answer stands in alarm_notices"
    )
    acknowledged_at: Mapped[datetime | None] = mapped_column(comment="when somebody took note of it")
    acknowledged_by: Mapped[str] = mapped_column(server_default=sql("''"), comment="who, as user@host")
    acknowledged_until: Mapped[datetime | None] = mapped_column(comment="for how long; empty: until it ends")
    ended_at: Mapped[datetime | None] = mapped_column(comment="when it was found to be gone")
    told_end_at: Mapped[datetime | None] = mapped_column(comment="when its end was given to the channels")


class AlarmNotice(Base):
    """What is to be told of an alarm by a channel, until it is sent or given up."""

    __tablename__ = "alarm_notices"
    __table_args__ = (
        UniqueConstraint("alarm_id", "channel", "number"),
        Index(
            "ix_alarm_notices_open",
            "channel",
            "id",
            postgresql_where=sql("sent_at is null and not given_up"),
        ),
        {"comment": "What is told of each alarm by each channel, and whether it got there"},
    )

    id: Mapped[int] = key()
    alarm_id: Mapped[int] = mapped_column(
        ForeignKey("alarms.id", ondelete="cascade"), comment="see alarms.id"
    )
    channel: Mapped[str] = mapped_column(comment="mail, webhook or command")
    number: Mapped[int] = mapped_column(Integer, comment="of this alarm and channel, from 1")
    event: Mapped[str] = mapped_column(comment="began, again or ended")
    tries: Mapped[int] = mapped_column(Integer, server_default=sql("0"), comment="how often it failed")
    next_try_at: Mapped[datetime] = mapped_column(
        server_default=func.clock_timestamp(), comment="not tried before"
    )
    last_error: Mapped[str] = mapped_column(server_default=sql("''"), comment="why the last try failed")
    sent_at: Mapped[datetime | None] = mapped_column(comment="when the channel took it")
    given_up: Mapped[bool] = mapped_column(
        Boolean,
        server_default=sql("false"),
        comment="tried often enough, or its channel is configured no more",
    )
