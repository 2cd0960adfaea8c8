"""Which series of a study are analysed: rules over headers, with the tag that decided."""

from worker.selection.select import (
    choose,
    describe_taken,
    lacking,
    not_looked_at,
    outcome_of_refusals,
    select,
)
from worker.selection.series import ReadSeries

__all__ = [
    "ReadSeries",
    "choose",
    "describe_taken",
    "lacking",
    "not_looked_at",
    "outcome_of_refusals",
    "select",
]
