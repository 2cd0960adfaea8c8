"""Selects the series of a study to analyse, by rules over headers, with the attribute that decided."""

from worker.selection.select import Choice, choose, choose_among, describe, describe_taken, read_series
from worker.selection.series import ReadSeries
from worker.selection.site_rules import BUILT_IN_ALONE, SiteRules, read_rules

__all__ = [
    "BUILT_IN_ALONE",
    "Choice",
    "ReadSeries",
    "SiteRules",
    "choose",
    "choose_among",
    "describe",
    "describe_taken",
    "read_rules",
    "read_series",
]
