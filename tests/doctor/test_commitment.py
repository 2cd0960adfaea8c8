"""What is told of the peers that may ask us to commit."""

import pytest

from neurotriage.doctor import Options, State, probes
from neurotriage.doctor.commitment import look_at_commitment
from neurotriage.embedded.process import free_port
from tests.doctor.looks import Archive, by_subject, settings
from tests.listener.asker import Asker

pytestmark = pytest.mark.unit


def test_each_peer_that_may_ask_has_an_address_that_takes_reports() -> None:
    with Asker() as asker, Archive() as archive:
        peers = [
            asker.peer,
            {"ae_title": "PACS", "host": "127.0.0.1", "port": archive.port},
            {"ae_title": "DOWN", "host": "127.0.0.1", "port": free_port()},
            {"ae_title": "SILENT", "host": "10.1.2.3"},
            {"ae_title": "HOSTLESS", "certificate_subject": "CN=x", "port": 104},
            {"ae_title": "WARD", "host": "10.1.2.0/24", "port": 104},
        ]
        found = by_subject(look_at_commitment(settings(peer=peers)))
        assert asker.reports.empty()
    assert {subject: check.state for subject, check in found.items()} == {
        "SENDER": State.OK,
        "PACS": State.WARNING,
        "DOWN": State.WARNING,
        "SILENT": State.WARNING,
        "HOSTLESS": State.WARNING,
        "WARD": State.OK,
    }
    assert "rejects the context" in found["PACS"].said
    assert "does not answer" in found["DOWN"].said
    assert "no port" in found["SILENT"].said
    assert "no host" in found["HOSTLESS"].said


def test_without_a_peer_nobody_may_ask() -> None:
    (check,) = look_at_commitment(settings())
    assert check.state is State.WARNING


@pytest.mark.parametrize("on", [True, False])
def test_it_is_looked_at_where_it_is_on(on: bool) -> None:
    parts = [probe.part for probe in probes(settings(listener={"storage_commitment": on}), Options())]
    assert ("commitment" in parts) is on
