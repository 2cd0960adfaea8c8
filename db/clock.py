"""Times and leases by the database's clock, the only one that all hosts share."""

from sqlalchemy import ColumnElement, func, or_
from sqlalchemy.orm import InstrumentedAttribute


def seconds(value: float | ColumnElement[float]) -> ColumnElement[object]:
    """An interval of ``value`` seconds, to be added to a time of the database's clock."""
    return func.make_interval(0, 0, 0, 0, 0, 0, value)


def lease_is_dead(lease_until: InstrumentedAttribute[object]) -> ColumnElement[bool]:
    """True where there is no lease, or it ran out by the database's clock."""
    return or_(lease_until.is_(None), lease_until < func.clock_timestamp())
