"""Which series of a study are analysed: rules over headers, with the tag that decided."""

from worker.selection.select import choose, said_of, select
from worker.selection.series import ReadSeries

__all__ = ["ReadSeries", "choose", "said_of", "select"]
