"""Which series of a study are analysed: rules over headers, with the tag that decided."""

from worker.selection.select import not_looked_at, outcome_of_refusals, select

__all__ = ["not_looked_at", "outcome_of_refusals", "select"]
