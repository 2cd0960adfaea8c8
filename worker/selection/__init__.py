"""Which series of a study are analysed: rules over headers, with the tag that decided."""

from worker.selection.select import choose, lacking, not_looked_at, outcome_of_refusals, said_of, select
from worker.selection.series import ReadSeries

__all__ = ["ReadSeries", "choose", "lacking", "not_looked_at", "outcome_of_refusals", "said_of", "select"]
