"""Who we are."""

from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base


class Installation(Base):
    """The identity of this installation."""

    __tablename__ = "installation"
    __table_args__ = ({"comment": "Who we are: one row, made by the first migration"},)

    uid: Mapped[str] = mapped_column(primary_key=True, comment="part of every UID that we derive")
