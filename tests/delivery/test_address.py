"""Results can go back to the peer that sent the study; each sender has a queue of its own."""

from pathlib import Path

import pytest

from neurotriage.core.settings import Destination, Settings
from neurotriage.demo.pacs import StandInPacs
from tests.delivery.conftest import Site
from worker.delivery.address import address_of, destination_of
from worker.delivery.client import Misconfigured

BACK = Destination(name="back", to_sender=True)
SENDER = ("CT/1 @A", "10.1.2.3")


def _settings(**peer: object) -> Settings:
    known = {"ae_title": "CT/1 @A", "host": "10.1.2.0/24", **peer}
    return Settings.model_validate({"destination": [BACK.model_dump()], "peer": [known]})


@pytest.mark.unit
def test_the_address_of_a_sender_leads_back_to_it() -> None:
    address = address_of(BACK, SENDER)
    found = destination_of(_settings(port=104), address)
    assert found is not None
    assert (found.name, found.ae_title, found.host, found.port) == ("back", "CT/1 @A", "10.1.2.3", 104)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("host", "port"),
    [("10.1.2.3", 104), ("10.1.3.9", 11112), ("::ffff:10.1.3.9", 11112), ("127.0.0.1", 42)],
)
def test_of_peers_with_one_ae_title_the_one_at_the_senders_address_counts(host: str, port: int) -> None:
    known = [
        {"ae_title": "CT", "host": "10.1.2.0/24", "port": 104},
        {"ae_title": "CT", "host": "10.1.3.9", "port": 11112},
        {"ae_title": "CT", "host": "localhost", "port": 42},
        {"ae_title": "MR", "host": "10.1.0.0/16", "port": 1},
    ]
    settings = Settings.model_validate({"destination": [BACK.model_dump()], "peer": known})
    found = destination_of(settings, address_of(BACK, ("CT", host)))
    assert found is not None
    assert (found.host, found.port) == (host, port)


@pytest.mark.unit
def test_a_sender_does_not_get_the_port_of_another_machine_with_its_ae_title() -> None:
    with pytest.raises(Misconfigured, match=r"no \[\[peer\]\] CT/1 @A at 10\.9\.9\.9 has a port"):
        destination_of(_settings(port=104), address_of(BACK, ("CT/1 @A", "10.9.9.9")))


@pytest.mark.unit
def test_to_a_sender_without_an_address_nothing_can_go_back() -> None:
    with pytest.raises(Misconfigured, match="CT/1 @A sent without an address"):
        destination_of(_settings(port=104), address_of(BACK, ("CT/1 @A", "")))


@pytest.mark.unit
def test_any_other_destination_is_its_name() -> None:
    pacs = Destination(name="pacs", ae_title="PACS", host="h", port=104)
    settings = Settings.model_validate({"destination": [pacs.model_dump()]})
    assert address_of(pacs, SENDER) == "pacs"
    assert destination_of(settings, "pacs") == pacs
    assert destination_of(settings, "pacs/CT@1.2.3.4") is None
    assert destination_of(settings, "other") is None


@pytest.mark.unit
def test_a_sender_whose_port_is_not_known_needs_a_person() -> None:
    with pytest.raises(Misconfigured, match=r"no \[\[peer\]\] CT/1 @A at 10\.1\.2\.3 has a port"):
        destination_of(_settings(), address_of(BACK, SENDER))


def test_results_go_back_to_the_sender(site: Site, tmp_path: Path) -> None:
    with StandInPacs(tmp_path / "modality", ae_title="SCANNER") as modality:
        peer = {"ae_title": "SCANNER", "host": "127.0.0.1", "port": modality.port}
        site.choose(destination=[BACK.model_dump()], peer=[peer])
        address = address_of(BACK, ("SCANNER", "127.0.0.1"))
        site.results(1, to=[address])
        assert site.deliver(address) == 1
    assert list(modality.received()) == ["2.25.1"]


def test_results_for_a_sender_without_a_port_wait_with_an_alarm(site: Site) -> None:
    site.choose(destination=[BACK.model_dump()], peer=[{"ae_title": "SCANNER", "host": "127.0.0.1"}])
    address = address_of(BACK, ("SCANNER", "127.0.0.1"))
    site.results(1, to=[address])
    assert site.deliver(address) == 0
    assert site.states(address) == [
        ("waiting", 1, "no [[peer]] SCANNER at 127.0.0.1 has a port to which results can be sent back")
    ]
    assert all(site.column("alarmed_at", address))
