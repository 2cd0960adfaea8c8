"""Selects the series of a study to analyse, by rules over headers, with the attribute that decided."""

from worker.selection.select import choose, describe, describe_taken
from worker.selection.series import ReadSeries

__all__ = ["ReadSeries", "choose", "describe", "describe_taken"]
