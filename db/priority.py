"""The priority class of a study in statements."""

from sqlalchemy import ColumnElement, case

from db.tables import Study
from neurotriage.core.priority import Priority


def rank() -> ColumnElement[int]:
    """The rank of a study's class, 0 for the most urgent: to be ordered by."""
    return case({priority.value: priority.rank for priority in Priority}, value=Study.priority)
