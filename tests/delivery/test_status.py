"""What each answer to a C-STORE means (PS3.4 B.2.3, PS3.7 annex C)."""

import pytest

from neurotriage.core.retries import retry_delay_s
from neurotriage.core.states import DeliveryState
from worker.delivery.status import store_result

pytestmark = pytest.mark.unit

STORED, WAITING, REFUSED = DeliveryState.STORED, DeliveryState.WAITING, DeliveryState.REFUSED


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (0x0000, STORED, "stored"),
        (0xB000, STORED, "coerced"),
        (0xB006, STORED, "discarded"),
        (0xB007, STORED, "did not match its SOP class"),
        (0x0111, STORED, "already has it"),
        (0xA700, WAITING, "out of resources"),
        (0xA7FF, WAITING, "out of resources"),
        (0x0110, WAITING, "failure"),
        (0x0210, REFUSED, "duplicate invocation"),
        (0x0211, REFUSED, "unrecognised operation"),
        (0x0212, REFUSED, "mistyped argument"),
        (0x0213, WAITING, "out of resources"),
        (0x0106, WAITING, "failure"),
        (0xFE00, WAITING, "failure"),
        (0x0001, STORED, "optional attribute"),
        (0x0107, STORED, "not recognised"),
        (0x0116, STORED, "out of range"),
        (0xB001, STORED, "with a warning"),
        (0xBFFF, STORED, "with a warning"),
        (0xB00E, STORED, "already has it"),
        (0xA900, REFUSED, "does not match its SOP class"),
        (0xA9FF, REFUSED, "does not match its SOP class"),
        (0xC000, REFUSED, "cannot understand"),
        (0xCFFF, REFUSED, "cannot understand"),
        (0x0117, REFUSED, "invalid object instance"),
        (0x0122, REFUSED, "SOP class not supported"),
        (0x0124, REFUSED, "not authorised"),
    ],
)
def test_a_status_becomes_a_state_and_a_sentence_with_its_number(
    status: int, state: DeliveryState, words: str
) -> None:
    verdict = store_result(status)
    assert verdict.state is state
    assert words in verdict.text
    assert status == 0 or f"0x{status:04X}" in verdict.text


def test_every_status_that_there_can_be_has_a_verdict() -> None:
    for status in range(0x10000):
        verdict = store_result(status)
        assert verdict.state in (STORED, WAITING, REFUSED)
        assert verdict.text
        warning = status in (0x0001, 0x0107, 0x0116) or 0xB000 <= status <= 0xBFFF
        assert (verdict.state is STORED) == (warning or status in (0, 0x0111))


def test_only_a_lack_of_resources_is_waited_out_for_long() -> None:
    """Whatever else is no refusal may be this object's fault: a few tries tell."""
    patient = {
        s for s in range(0x10000) if store_result(s).state is WAITING and not store_result(s).max_failures
    }
    assert patient == {0x0213, *range(0xA700, 0xA800)}


def test_the_delay_doubles_up_to_its_limit() -> None:
    delays = [retry_delay_s(n, first_s=30, longest_s=100) for n in (1, 2, 3, 4, 1000, 10**6)]
    assert delays == [30, 60, 100, 100, 100, 100]
