"""What a destination will never take ends with a sentence and holds up nothing."""

import pytest

from neurotriage.demo.pacs import StandInPacs
from tests.db.rows import written
from tests.delivery.conftest import SECONDARY_CAPTURE, Site, listener


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122])
def test_a_refusal_is_for_good_and_has_a_sentence(site: Site, pacs: StandInPacs, status: int) -> None:
    pacs.answer = status
    site.results(1)
    assert site.deliver() == 0
    ((state, attempts, sentence),) = site.states()
    assert (state, attempts) == ("refused", 1)
    assert sentence.startswith("refused: ")
    assert f"0x{status:04X}" in sentence
    site.let_time_pass()
    site.deliver()
    assert pacs.stores == 1


def test_a_class_that_is_refused_at_negotiation_does_not_hold_up_the_others(site: Site) -> None:
    with listener(classes=(SECONDARY_CAPTURE,)) as port:
        site.destination("pacs", port)
        site.results(1, 2, 3, report=2)
        assert site.deliver() == 2
    assert [state for state, _, _ in site.states()] == ["stored", "refused", "stored"]
    assert site.states()[1][2] == "refused at negotiation: SOP class not supported"


def test_a_pacs_that_takes_none_of_our_classes_refuses_all(site: Site) -> None:
    with listener(classes=("1.2.840.10008.5.1.4.1.1.4",)) as port:
        site.destination("pacs", port)
        site.results(1, 2, report=2)
        assert site.deliver() == 0
    assert {state for state, _, _ in site.states()} == {"refused"}


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "bare", "same length"])
def test_a_damaged_result_is_told_and_the_others_are_sent(site: Site, pacs: StandInPacs, damage: str) -> None:
    site.results(1, 2)
    file = site.root / written(1).path
    whole = file.read_bytes()
    damaged = {"empty": b"", "text": b"text" * 200, "truncated": whole[:-20], "bare": whole[:132]}
    file.write_bytes(damaged.get(damage, b"?" * len(whole)))
    assert site.deliver() == 1
    (broken, fine) = site.states()
    assert broken[0] == "refused"
    assert broken[2].startswith("the result file is damaged: ")
    assert fine[0] == "stored"
    assert pacs.stores == 1


def test_a_result_on_which_our_software_fails_is_told_and_the_others_are_sent(
    site: Site, pacs: StandInPacs
) -> None:
    site.results(1, 2)
    file = site.root / written(1).path
    file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.7", b"1.2.840.10008.5.1.4.1.1.9"))
    assert site.deliver() == 1
    assert site.states() == [
        ("refused", 1, "our software failed on this object (ValueError)"),
        ("stored", 1, "stored"),
    ]


def test_what_a_host_is_short_of_for_a_while_refuses_nothing(
    site: Site, pacs: StandInPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.results(1)
    with monkeypatch.context() as short:

        def no_memory(*_: object) -> None:
            raise MemoryError

        short.setattr("worker.delivery.dimse.DimseClient.store", no_memory)
        assert site.deliver() == 0
    ((state, _, sentence),) = site.states()
    assert (state, sentence) == ("waiting", "this host is short of something (MemoryError)")
    site.let_time_pass()
    assert site.deliver() == 1


def test_a_result_that_is_not_there_is_waited_for_and_the_others_are_sent(
    site: Site, pacs: StandInPacs
) -> None:
    """A shared storage that went away may come back."""
    site.results(1, 2)
    file = site.root / written(1).path
    aside = file.rename(file.with_suffix(".aside"))
    assert site.deliver() == 1
    assert site.states()[0] == ("waiting", 1, "the result file cannot be read: No such file or directory")
    aside.rename(file)
    site.let_time_pass()
    assert site.deliver() == 1
    assert len(pacs.received()) == 2
