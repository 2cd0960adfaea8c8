"""One process at a time sends to a destination, and nothing is sent that was cancelled."""

import threading

from pynetdicom import evt
from sqlalchemy import text

from tests.delivery.conftest import Site, listener, uid_of


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
