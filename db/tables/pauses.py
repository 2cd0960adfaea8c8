"""What rests because somebody said so."""

from datetime import datetime

from sqlalchemy import func, text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base


class Pause(Base):
    """Analysis, or what goes to a destination, while it rests: see ``db.pauses``."""

    __tablename__ = "pauses"
    __table_args__ = ({"comment": "What rests because somebody said so"},)

    name: Mapped[str] = mapped_column(
        primary_key=True, comment="analysis, or the name of a destination in the configuration"
    )
    since: Mapped[datetime] = mapped_column(
        server_default=func.clock_timestamp(), comment="when it was paused"
    )
    until: Mapped[datetime | None] = mapped_column(
        comment="when it goes on by itself; empty: when it is told to"
    )
    made_by: Mapped[str] = mapped_column(comment="the command with its user")
    reason: Mapped[str] = mapped_column(
        server_default=text("''"), comment="why, in the words of whoever did it"
    )
