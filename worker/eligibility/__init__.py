"""Is this a head, and enough of it? Facts and rules in, reasons and outcomes out; nothing here measures.

Headers are judged by ``worker.selection`` (a rule a subject); here everything that pixels, extent and the
network say, by the numbers of one rule file.
"""

from worker.eligibility.extent import is_enough, too_coarse, too_few_slices
from worker.eligibility.facts import CtSection, Extent, NetworkFacts, PixelFacts
from worker.eligibility.network import refused_by_network
from worker.eligibility.outcomes import (
    LACKING,
    OUTCOME_OF_STACK,
    lacking,
    not_looked_at,
    outcome_of_refusals,
    outranked,
)
from worker.eligibility.pixels import noisy, refused_by_pixels
from worker.eligibility.rule import PART, EligibilityRule, parse_rule

__all__ = [
    "LACKING",
    "OUTCOME_OF_STACK",
    "PART",
    "CtSection",
    "EligibilityRule",
    "Extent",
    "NetworkFacts",
    "PixelFacts",
    "is_enough",
    "lacking",
    "noisy",
    "not_looked_at",
    "outcome_of_refusals",
    "outranked",
    "parse_rule",
    "refused_by_network",
    "refused_by_pixels",
    "too_coarse",
    "too_few_slices",
]
