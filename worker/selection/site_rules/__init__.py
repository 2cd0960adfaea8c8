"""Rules that a site adds to the built-in ones: a TOML file, checked when it is read."""

from worker.selection.site_rules.condition import SeriesView
from worker.selection.site_rules.rules import BUILT_IN_ALONE, Rule, SiteRules, read_rules

__all__ = ["BUILT_IN_ALONE", "Rule", "SeriesView", "SiteRules", "read_rules"]
