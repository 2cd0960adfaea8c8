"""Which series of a study are analysed: rules over headers, with the tag that decided."""

from worker.selection.select import outcome_of_refusals, select

__all__ = ["outcome_of_refusals", "select"]
