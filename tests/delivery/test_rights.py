"""One process at a time sends to a destination, and nothing is sent that was cancelled."""

import threading
from importlib import import_module

import pytest
from pynetdicom import evt
from sqlalchemy import text

from db.delivery import destinations
from tests.conftest import until
from tests.delivery.conftest import Site, listener, uid_of
from worker.delivery import right

deliver_module = import_module("worker.delivery.deliver")  # hidden behind the function of its name


def test_a_second_sender_to_one_destination_goes_home(site: Site) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def waits(_: evt.Event) -> int:
        arrived.set()
        go_on.wait(20)
        return 0x0000

    with listener(waits) as port:
        site.destination("pacs", port)
        site.results(1)
        first = threading.Thread(target=site.deliver)
        first.start()
        assert arrived.wait(20)
        assert site.deliver() == 0
        assert first.is_alive()  # it was not waited for
        go_on.set()
        first.join(20)
    assert site.states() == [("stored", 1, "stored")]


def _steal(site: Site) -> None:
    """Another process takes the destination, as after a lease that ran out."""
    with site.engine.begin() as connection:
        connection.execute(text("update destination_leases set token = token + 1, owner = 'thief'"))


def test_a_sender_that_lost_its_right_stops_and_leaves_the_lease_alone(site: Site) -> None:
    stores: list[str] = []

    def robbed(event: evt.Event) -> int:
        stores.append(uid_of(event))
        _steal(site)
        return 0x0000

    with listener(robbed) as port:
        site.destination("pacs", port)
        site.results(1, 2)
        assert site.deliver() == 0
    assert stores == ["2.25.1"]
    assert [state for state, _, _ in site.states()] == ["sending", "waiting"]
    with site.engine.begin() as connection:
        owner = connection.execute(text("select owner from destination_leases where lease_until > now()"))
        assert owner.scalar_one() == "thief"


def test_a_sender_that_loses_its_right_before_it_sends_sends_nothing(site: Site) -> None:
    stores: list[str] = []

    def takes(event: evt.Event) -> int:
        stores.append(uid_of(event))
        return 0x0000

    def robs(_: evt.Event) -> None:
        _steal(site)

    with listener(takes, on_requested=robs) as port:
        site.destination("pacs", port)
        site.results(1, 2)
        assert site.deliver() == 0
    assert stores == []
    assert [state for state, _, _ in site.states()] == ["waiting", "waiting"]


def test_what_is_cancelled_while_its_study_is_sent_stays_here(site: Site) -> None:
    stores: list[str] = []

    def cancels(event: evt.Event) -> int:
        stores.append(uid_of(event))
        with site.engine.begin() as connection:
            connection.execute(text("update deliveries set state = 'given_up' where state = 'waiting'"))
        return 0x0000

    with listener(cancels) as port:
        site.destination("pacs", port)
        site.results(1, 2)
        assert site.deliver() == 1
    assert stores == ["2.25.1"]
    assert [state for state, _, _ in site.states()] == ["stored", "given_up"]


def test_what_is_cancelled_while_it_is_sent_does_not_wait_again(site: Site) -> None:
    def cancels(_: evt.Event) -> int:
        with site.engine.begin() as connection:
            connection.execute(text("update deliveries set state = 'given_up', last_status = 'cancelled'"))
        return 0xA700

    with listener(cancels) as port:
        site.destination("pacs", port)
        site.results(1)
        site.deliver()
    assert site.states() == [("given_up", 1, "cancelled")]


def _lease_s(site: Site) -> float:
    with site.engine.begin() as connection:
        left = "select extract(epoch from lease_until - clock_timestamp()) from destination_leases"
        return float(connection.execute(text(left)).scalar_one())


def test_a_sender_keeps_its_right_for_longer_than_the_lease_while_it_waits_for_an_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(right, "LEASE_S", 2.0)
    monkeypatch.setattr(deliver_module, "LEASE_S", 2.0)
    arrived, go_on = threading.Event(), threading.Event()

    def waits(_: evt.Event) -> int:
        arrived.set()
        go_on.wait(60)
        return 0x0000

    with listener(waits) as port:
        site.destination("pacs", port)
        site.results(1)
        first = threading.Thread(target=site.deliver)
        first.start()
        assert arrived.wait(20)
        renewed, before = 0, _lease_s(site)
        while renewed < 6:  # six renewals are three seconds
            renewed, before = renewed + (_lease_s(site) > before), _lease_s(site)
            assert before > 0
        go_on.set()
        first.join(20)
    assert site.states() == [("stored", 1, "stored")]


def test_a_lease_lives_for_seconds(site: Site) -> None:
    """So long, and the next sweep, is how long a destination pauses after its sender was killed."""
    seen: list[float] = []

    def looks(_: evt.Event) -> int:
        seen.append(_lease_s(site))
        return 0x0000

    with listener(looks) as port:
        site.destination("pacs", port)
        site.results(1)
        site.deliver()
    assert 0 < seen[0] <= 20


def test_a_sender_that_hangs_loses_its_right(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(right, "LEASE_S", 1.0)
    monkeypatch.setattr(right, "_SILENCE_S", 0.5)
    with site.engine.begin() as connection:
        held = destinations.take(connection, "pacs", owner="w", lease_s=1.0)
        assert held is not None
    with right.SendingRightKeeper(site.engine, held):
        until(lambda: _lease_s(site) < 0)
