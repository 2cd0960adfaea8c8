"""Whether pixels can be those of a head, whatever the header says and before any network looks at them.

Random numbers, blank pictures, a phantom's flat inside, an empty skull and a trunk are turned away here. What
passes may still be no head: the network is asked after (``worker.eligibility.network``).
"""

from neurotriage.core.values import Reason, ReasonCode
from worker.eligibility.facts import CtSection, PixelFacts
from worker.eligibility.rule import EligibilityRule


def refused_by_pixels(facts: PixelFacts, rule: EligibilityRule) -> Reason | None:
    """Why a volume is not analysed, or None.

    UNREADABLE_PIXELS (blank), NOISE, HEADER_CONTRADICTS_PIXELS (CT without Hounsfield units), NOT_A_HEAD.
    """
    if facts.blank:
        return Reason(ReasonCode.UNREADABLE_PIXELS, "all pixels have the same value")
    noise = noisy(facts.correlation, rule)
    if noise is not None:
        return noise
    if facts.air_percentile_hu is not None and facts.air_percentile_hu > rule.max_darkest_hu:
        figure = f"the darkest hundredth is {facts.air_percentile_hu:.0f}, air is -1000"
        sentence = f"the header says CT, but the values are no Hounsfield units: {figure}"
        return Reason(ReasonCode.HEADER_CONTRADICTS_PIXELS, sentence)
    return _no_head(facts, rule)


def noisy(correlation: float, rule: EligibilityRule) -> Reason | None:
    """NOISE where neighbouring pixels have so little to do with each other that they make no picture."""
    if correlation >= rule.min_correlation:
        return None
    figure = f"neighbouring pixels correlate by {correlation:.2f}, in pictures by 0.8 or more"
    return Reason(ReasonCode.NOISE, f"the pixels are noise: {figure}")


def _no_head(facts: PixelFacts, rule: EligibilityRule) -> Reason | None:
    width_mm = max(facts.extent_mm)
    heads = [section for section in facts.ct_sections if _shows_head(section, rule)]
    text = None
    if width_mm > rule.max_head_mm and not heads:
        text = f"the object is {width_mm:.0f} mm wide, too large for a head"
    elif width_mm < rule.min_head_mm:
        text = f"the largest object is {width_mm:.0f} mm wide, too small for a head"
    elif facts.ct_sections and len(heads) / len(facts.ct_sections) < rule.min_head_slices:
        share = len(heads) / len(facts.ct_sections)
        text = f"{share:.0%} of the slices show soft tissue within a ring of bone"
        text += f", of a head at least {rule.min_head_slices:.0%}"
    elif facts.flatness > rule.max_flatness:
        text = f"{facts.flatness:.0%} of the inside is flat, as in a phantom"
    return None if text is None else Reason(ReasonCode.NOT_A_HEAD, text)


def _shows_head(section: CtSection, rule: EligibilityRule) -> bool:
    """Soft tissue within bone all round, of a head's size."""
    return (
        0 < section.width_mm <= rule.max_head_mm
        and section.soft_share >= rule.min_soft_share
        and section.bone_ring >= rule.min_bone_ring
    )
