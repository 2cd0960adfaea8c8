"""Whether a volume is a head that the network may judge, by what the network says of its slices."""

from neurotriage.core.values import Reason, ReasonCode
from worker.eligibility.facts import NetworkFacts
from worker.eligibility.rule import EligibilityRule


def refused_by_network(
    facts: NetworkFacts, rule: EligibilityRule, *, min_head_probability: float, max_out_of_distribution: float
) -> Reason | None:
    """NOT_A_HEAD, OUT_OF_DISTRIBUTION (unlike the training data), or None.

    The two limits are the network's own, the latter for the plane of the volume.
    """
    if facts.head_probability < min_head_probability:
        score, limit = f"{facts.head_probability:.2f}", f"{min_head_probability:.2f}"
        text = f"the pixels show no head: score {score}, a head has at least {limit}"
        return Reason(ReasonCode.NOT_A_HEAD, text)
    if facts.filled_share < rule.min_filled_share:
        filled, least = f"{facts.filled_share:.0%}", f"{rule.min_filled_share:.0%}"
        text = f"hollow: {filled} of the inside gives signal, of a head at least {least}"
        return Reason(ReasonCode.NOT_A_HEAD, text)
    if facts.out_of_distribution > max_out_of_distribution:
        score, limit = f"{facts.out_of_distribution:.2f}", f"{max_out_of_distribution:.2f}"
        text = f"unlike any head the model has seen: score {score}, limit {limit}"
        return Reason(ReasonCode.OUT_OF_DISTRIBUTION, text)
    return None
