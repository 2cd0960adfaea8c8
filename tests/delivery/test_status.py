"""What each answer to a C-STORE means (PS3.4 B.2.3, PS3.7 annex C)."""

import pytest

from db.tables import DeliveryState
from worker.delivery.status import retry_delay_s, verdict_of

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
        (0x0213, WAITING, "failure"),
        (0xFE00, WAITING, "failure"),
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
    verdict = verdict_of(status)
    assert verdict.state is state
    assert words in verdict.text
    assert status == 0 or f"0x{status:04X}" in verdict.text


def test_no_answer_means_another_try() -> None:
    verdict = verdict_of(None)
    assert verdict.state is WAITING
    assert "no answer" in verdict.text


def test_every_status_that_there_can_be_has_a_verdict() -> None:
    for status in range(0x10000):
        verdict = verdict_of(status)
        assert verdict.state in (STORED, WAITING, REFUSED)
        assert verdict.text
        assert verdict.state is not STORED or status in (0, 0x0111, 0xB000, 0xB006, 0xB007)


def test_the_delay_doubles_up_to_its_limit() -> None:
    delays = [retry_delay_s(n, first_s=30, longest_s=100) for n in (1, 2, 3, 4, 1000, 10**6)]
    assert delays == [30, 60, 100, 100, 100, 100]
