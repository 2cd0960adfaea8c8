"""The declarative base, and the columns that most tables have."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    MetaData,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Every table, with the names that its constraints and indexes get and the types of its columns."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text,
        float: Double,
        dict[str, Any]: JSONB,
    }


def key() -> Mapped[int]:
    """The primary key of a table whose rows Postgres numbers."""
    return mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="our own number of the row"
    )


def parent(column: str) -> Mapped[int]:
    """An indexed reference to ``column`` (``table.column``) of the row that this one belongs to."""
    return mapped_column(BigInteger, ForeignKey(column), index=True, comment=f"see {column}")
