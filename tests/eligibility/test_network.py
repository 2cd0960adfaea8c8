"""What the network takes for no head never gets an answer."""

import numpy as np
import pytest

from neurotriage.core.values import ReasonCode
from tests.eligibility.rule import RULE
from tests.vision.synthetic import axial_head, predictions, rule
from worker.eligibility import NetworkFacts, refused_by_network
from worker.vision.series.judge import network_facts
from worker.vision.slices.sections import measure_sections

pytestmark = pytest.mark.unit

HEAD = NetworkFacts(head_probability=0.9, filled_share=0.95, out_of_distribution=0.2)


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (HEAD, None),
        (NetworkFacts(0.5, 0.7, 0.8), None),
        (NetworkFacts(0.49, 0.95, 0.2), ReasonCode.NOT_A_HEAD),
        (NetworkFacts(0.9, 0.69, 0.2), ReasonCode.NOT_A_HEAD),
        (NetworkFacts(0.9, 0.95, 0.81), ReasonCode.OUT_OF_DISTRIBUTION),
    ],
)
def test_a_series_is_refused_beyond_each_limit(facts: NetworkFacts, code: ReasonCode | None) -> None:
    reason = refused_by_network(facts, RULE, min_head_probability=0.5, max_out_of_distribution=0.8)
    assert (None if reason is None else reason.code) is code


def test_empty_end_slices_do_not_make_a_head_something_else() -> None:
    sections = measure_sections(axial_head(shape=(31, 80, 96)))  # the ball fills the middle 13 slices
    head = np.where(sections.area_mm2 > 0, 0.9, 0.0)
    facts = network_facts(predictions(head), np.zeros(31), sections, rule())
    assert facts.head_probability == pytest.approx(0.9)


def test_facts_are_medians_so_that_one_odd_slice_refuses_no_head() -> None:
    sections = measure_sections(axial_head())
    head, odd = np.full(12, 0.9), np.zeros(12)
    head[6], odd[6] = 0.0, 1.0
    facts = network_facts(predictions(head), odd, sections, rule())
    assert (facts.head_probability, facts.out_of_distribution) == (pytest.approx(0.9), 0.0)
