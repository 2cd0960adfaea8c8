"""Of a destination that is paused meanwhile, the object on its way arrives, and the rest once it goes on."""

from pynetdicom import evt

from db import pauses
from tests.delivery.conftest import Site, listener


def test_a_pause_in_the_middle_ends_with_the_object_on_its_way(site: Site) -> None:
    def stores(event: evt.Event) -> int:
        with site.engine.begin() as connection:
            pauses.pause(connection, "pacs", made_by="test", reason="", for_s=None)
        return 0x0000

    with listener(stores) as port:
        site.destination("pacs", port)
        site.results(1, 2, 3)
        assert site.deliver() == 1
        assert [state for state, _, _ in site.states()] == ["stored", "waiting", "waiting"]
        assert site.deliver() == 0
        with site.engine.begin() as connection:
            pauses.resume(connection, "pacs", made_by="test")
        assert site.deliver() == 1


def test_once_a_destination_is_paused_it_is_called_for_no_further_study(site: Site) -> None:
    calls: list[evt.Event] = []

    def stores(event: evt.Event) -> int:
        with site.engine.begin() as connection:
            pauses.pause(connection, "pacs", made_by="test", reason="", for_s=None)
        return 0x0000

    with listener(stores, on_requested=calls.append) as port:
        site.destination("pacs", port)
        for number in (1, 2, 3):
            site.results(number, study=f"1.2.{number}")
        assert site.deliver() == 1
    assert len(calls) == 1
    assert [state for state, _, _ in site.states()] == ["stored", "waiting", "waiting"]
