"""Whatever a destination does, each object ends in a state that says why."""

import threading
import time
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import evt

from neurotriage.core.settings import Settings
from neurotriage.demo.pacs import StandInPacs
from neurotriage.embedded.process import free_port
from tests.delivery.conftest import Site, black_hole, listener, storescp, uid_of
from worker.delivery import dimse


def test_a_pacs_that_is_down_is_tried_again_later_and_then_gets_it(site: Site, pacs: StandInPacs) -> None:
    pacs.stop()
    site.results(1, 2)
    assert site.deliver() == 0
    sentence = f"PACS at 127.0.0.1:{pacs.port} does not answer: the connection was refused"
    assert [(state, attempts) for state, attempts, _ in site.states()] == [("waiting", 1)] * 2
    assert all(status.startswith(sentence) for _, _, status in site.states())
    assert 5 < site.next_try_in_s() <= 10
    pacs.start()
    assert site.deliver() == 0  # not yet due
    site.let_time_pass()
    assert site.deliver() == 2
    assert site.states() == [("stored", 2, "stored")] * 2


def test_a_host_without_an_address_is_a_pacs_that_is_down(site: Site) -> None:
    site.destination("pacs", 104, host="pacs.invalid")
    site.results(1)
    assert site.deliver() == 0
    ((state, _, sentence),) = site.states()
    assert state == "waiting"
    assert sentence.startswith("PACS at pacs.invalid:104 does not answer: ")


def test_a_pacs_out_of_resources_is_tried_again_at_growing_distances(site: Site, pacs: StandInPacs) -> None:
    pacs.answer = 0xA700
    site.results(1)
    for attempt, longest_s in enumerate((10, 20, 40), 1):
        site.let_time_pass()
        assert site.deliver() == 0
        assert site.states() == [("waiting", attempt, "the destination is out of resources (0xA700)")]
        assert longest_s / 2 < site.next_try_in_s() <= longest_s
    pacs.answer = 0x0000
    site.let_time_pass()
    assert site.deliver() == 1


def test_a_pacs_that_does_not_know_its_ae_title_is_named_and_tried_again(site: Site) -> None:
    with listener(title="OTHER", strict=True) as port:
        site.destination("pacs", port, ae_title="PACS")
        site.results(1)
        assert site.deliver() == 0
    ((state, attempts, sentence),) = site.states()
    assert (state, attempts) == ("waiting", 1)
    assert "rejected the association; check both AE titles" in sentence


def test_after_the_last_try_a_delivery_is_given_up(site: Site, pacs: StandInPacs) -> None:
    site.settings = Settings.model_validate({**site.settings.model_dump(), "delivery": {"max_attempts": 2}})
    pacs.answer = 0xA700
    site.results(1)
    site.deliver()
    site.let_time_pass()
    site.deliver()
    sentence = "given up after 2 tries; last: the destination is out of resources (0xA700)"
    assert site.states() == [("given_up", 2, sentence)]
    site.let_time_pass()
    site.deliver()
    assert pacs.stores == 2


def test_a_connection_lost_in_mid_study_is_taken_up_where_it_broke(site: Site) -> None:
    stores: list[str] = []

    def breaks(event: evt.Event) -> int:
        stores.append(uid_of(event))
        if len(stores) == 2:
            event.assoc.abort()
        return 0x0000

    with listener(breaks) as port:
        site.destination("pacs", port)
        site.results(1, 2, 3)
        assert site.deliver() == 3
    assert site.states() == [("stored", 1, "stored"), ("stored", 2, "stored"), ("stored", 1, "stored")]
    assert stores == ["2.25.1", "2.25.2", "2.25.2", "2.25.3"]


def test_an_archive_that_aborts_after_each_object_gets_all_of_a_study_at_once(site: Site) -> None:
    """Each association stores one; as long as there is progress nothing waits."""
    stores: list[str] = []

    def one_only(event: evt.Event) -> int:
        if event.assoc in seen:
            event.assoc.abort()
        else:
            seen.append(event.assoc)
            stores.append(uid_of(event))
        return 0x0000

    seen: list[object] = []
    with listener(one_only) as port:
        site.destination("pacs", port)
        site.results(1, 2, 3, 4, 5)
        assert site.deliver() == 5
    assert stores == [f"2.25.{number}" for number in range(1, 6)]
    assert [state for state, _, _ in site.states()] == ["stored"] * 5


def test_an_object_at_which_an_archive_aborts_holds_up_no_other(site: Site) -> None:
    stores: list[str] = []

    def chokes(event: evt.Event) -> int:
        stores.append(uid_of(event))
        if stores[-1] == "2.25.2":
            event.assoc.abort()
        return 0x0000

    with listener(chokes) as port:
        site.destination("pacs", port)
        site.results(1, 2, 3, 4)
        assert site.deliver() == 3
    assert [state for state, _, _ in site.states()] == ["stored", "waiting", "stored", "stored"]
    assert stores.count("2.25.2") == 2
    with site.engine.begin() as connection:
        waits = "select extract(epoch from next_try_at - now()) from deliveries where state = 'waiting'"
        assert 5 < float(connection.exec_driver_sql(waits).scalar_one()) <= 20


def test_an_archive_that_aborts_at_everything_is_left_alone_for_a_while(site: Site) -> None:
    requests: list[evt.Event] = []
    with listener(lambda event: event.assoc.abort() or 0x0000, on_requested=requests.append) as port:
        site.destination("pacs", port)
        site.results(*range(1, 11))
        assert site.deliver() == 0
    assert len(requests) == 3
    assert {state for state, _, _ in site.states()} == {"waiting"}
    assert all(attempts == 1 for _, attempts, _ in site.states())


def test_a_pacs_that_takes_an_object_and_never_answers_is_waited_for_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dimse, "_ANSWER_TIMEOUT_S", 2.0)
    stores: list[str] = []
    woken = threading.Event()

    def sleeps(event: evt.Event) -> int:
        stores.append(uid_of(event))
        woken.wait(60)
        return 0x0000

    with listener(sleeps) as port:
        site.destination("pacs", port)
        site.results(1, 2)
        assert site.deliver() == 0
        woken.set()
    assert stores == ["2.25.1"]
    assert [state for state, _, _ in site.states()] == ["waiting", "waiting"]


def test_a_dead_destination_does_not_hold_up_another(
    site: Site, pacs: StandInPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dimse, "_CONNECT_TIMEOUT_S", 60.0)
    site.results(1, 2, to=("pacs", "dead"))
    with black_hole() as port:
        site.destination("dead", port)
        dead = threading.Thread(target=site.deliver, args=("dead",))
        dead.start()
        assert site.deliver("pacs") == 2
        assert dead.is_alive()  # it still waits
    dead.join(30)  # the port is closed, which ends its wait
    assert not dead.is_alive()
    assert [state for state, _, _ in site.states("pacs")] == ["stored", "stored"]
    assert [state for state, _, _ in site.states("dead")] == ["waiting", "waiting"]
    assert "closed the connection" in site.states("dead")[0][2]


def _received(folder: Path) -> list[str]:
    return sorted(str(dcmread(path).SOPInstanceUID) for path in folder.iterdir())


@pytest.mark.usefixtures("dcmtk")
def test_a_pacs_that_is_killed_in_mid_association_has_each_object_once_in_the_end(
    site: Site, tmp_path: Path
) -> None:
    port = free_port()
    site.destination("pacs", port)
    site.results(1, 2, 3)
    with storescp(tmp_path / "pacs", port, "-xcr", "kill -9 $PPID", "--exec-sync"):
        site.deliver()
    assert "waiting" in [state for state, _, _ in site.states()]
    site.let_time_pass()
    with storescp(tmp_path / "pacs", port):
        site.deliver()
    assert [state for state, _, _ in site.states()] == ["stored"] * 3
    assert _received(tmp_path / "pacs") == ["2.25.1", "2.25.2", "2.25.3"]


@pytest.mark.usefixtures("dcmtk")
def test_a_pacs_that_stops_reading_in_mid_association_is_given_up_within_limits(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than fits into the buffers of a connection is on its way when the peer freezes."""
    monkeypatch.setattr(dimse, "_ANSWER_TIMEOUT_S", 2.0)
    monkeypatch.setattr(dimse, "_SEND_TIMEOUT_S", 1.0)
    port = free_port()
    site.destination("pacs", port)
    site.results(1, 2, padding_bytes=20_000_000)
    with storescp(tmp_path / "pacs", port, "-xcr", "kill -STOP $PPID", "--exec-sync"):
        begun = time.monotonic()
        site.deliver()
        assert time.monotonic() - begun < 30
    assert site.states()[1][0] == "waiting"


def test_a_processing_failure_is_tried_four_times(site: Site, pacs: StandInPacs) -> None:
    """It may be the destination's, or this very object's."""
    pacs.answer = 0x0110
    site.results(1)
    for _ in range(6):
        site.deliver()
        site.let_time_pass()
    assert pacs.stores == 4
    sentence = "given up after 4 tries; last: the destination reports a failure (0x0110)"
    assert site.states() == [("given_up", 4, sentence)]


def test_a_destination_that_was_down_for_long_uses_up_no_processing_failures(
    site: Site, pacs: StandInPacs
) -> None:
    pacs.stop()
    site.results(1)
    for _ in range(5):
        site.deliver()
        site.let_time_pass()
    pacs.answer = 0x0110
    pacs.start()
    site.deliver()
    assert site.states()[0][0] == "waiting"


def test_what_waits_for_long_raises_one_alarm_that_ends_with_success(site: Site, pacs: StandInPacs) -> None:
    pacs.answer = 0xA700
    site.results(1)
    site.deliver()
    assert site.column("alarmed_at") == [None]
    site.execute("update deliveries set waiting_since = now() - interval '16 minutes'")
    for _ in range(2):
        site.let_time_pass()
        site.deliver()
    assert all(site.column("alarmed_at"))
    assert site.events() == ["delivery_alarm"]
    pacs.answer = 0x0000
    site.let_time_pass()
    site.deliver()
    assert site.column("alarmed_at") == [None]


def test_a_pacs_that_does_not_know_us_raises_an_alarm_at_once(site: Site) -> None:
    with listener(calling=["OTHER"]) as port:
        site.destination("pacs", port)
        site.results(1, 2)
        site.deliver()
    assert [state for state, _, _ in site.states()] == ["waiting", "waiting"]
    assert site.states()[0][2].endswith("it does not know our AE title NEUROTRIAGE")
    assert all(site.column("alarmed_at"))


def test_a_pacs_that_is_busy_is_tried_again_without_an_alarm(site: Site) -> None:
    def busy(event: evt.Event) -> None:
        event.assoc.acse.send_reject(2, 3, 2)  # transient, local limit exceeded
        event.assoc.kill()

    with listener(on_requested=busy) as port:
        site.destination("pacs", port)
        site.results(1)
        site.deliver()
    assert site.states()[0][2].endswith("rejected the association for now")
    assert site.column("alarmed_at") == [None]


def test_a_pacs_that_is_down_costs_one_connection_for_all_that_waits(site: Site) -> None:
    requests: list[evt.Event] = []

    def rejects(event: evt.Event) -> None:
        requests.append(event)
        event.assoc.acse.send_reject(2, 3, 2)
        event.assoc.kill()

    with listener(on_requested=rejects) as port:
        site.destination("pacs", port)
        for number in range(1, 6):
            site.results(number, study=f"1.2.{number}")
        site.deliver()
    assert len(requests) == 1
    assert [(state, attempts) for state, attempts, _ in site.states()] == [("waiting", 1)] * 5
