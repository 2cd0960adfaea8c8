"""Who may send, and what."""

from collections import Counter

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_listener.admission.peers import (
    ADDRESS_UNKNOWN,
    CALLED_UNKNOWN,
    NO_PEERS,
    TITLE_UNKNOWN,
    ListedHosts,
    rejection,
)
from dicom_listener.admission.shares import Shares
from dicom_listener.association.contexts import supported_contexts, transfer_syntaxes
from neurotriage.core.settings import Peer, Settings

pytestmark = pytest.mark.unit


def settings(host: str = "0.0.0.0", *peers: tuple[str, str]) -> Settings:  # noqa: S104 - nothing listens
    return Settings.model_validate(
        {"listener": {"host": host}, "peer": [Peer(ae_title=title, host=where) for title, where in peers]}
    )


def test_a_listener_on_a_loopback_address_allows_loopback_peers() -> None:
    local = settings("127.0.0.1")
    assert rejection(local, calling="ANY", called="NEUROTRIAGE", host="127.0.0.1") is None
    assert rejection(local, calling="ANY", called="NEUROTRIAGE", host="10.0.0.1") == NO_PEERS


def test_a_listener_on_the_network_without_peers_allows_nobody() -> None:
    for host in ("127.0.0.1", "10.0.0.1", "::1"):
        assert rejection(settings(), calling="ANY", called="NEUROTRIAGE", host=host) == NO_PEERS


def test_another_called_ae_title_is_rejected() -> None:
    local = settings("127.0.0.1")
    assert rejection(local, calling="ANY", called="ARCHIVE", host="127.0.0.1") == CALLED_UNKNOWN


@pytest.mark.parametrize("where", ["10.1.2.3", "10.1.2.0/24", "10.1.2.77/24"])
def test_a_peer_needs_both_its_address_and_its_title(where: str) -> None:
    known = settings("0.0.0.0", ("PACS", where))  # noqa: S104 - nothing listens
    assert rejection(known, calling="PACS", called="NEUROTRIAGE", host="10.1.2.3") is None
    assert rejection(known, calling="PACS", called="NEUROTRIAGE", host="::ffff:10.1.2.3") is None
    assert rejection(known, calling="OTHER", called="NEUROTRIAGE", host="10.1.2.3") == TITLE_UNKNOWN
    assert rejection(known, calling="PACS", called="NEUROTRIAGE", host="10.1.3.3") == ADDRESS_UNKNOWN


def test_a_peer_may_be_a_name() -> None:
    known = settings("0.0.0.0", ("PACS", "localhost"))  # noqa: S104 - nothing listens
    assert rejection(known, calling="PACS", called="NEUROTRIAGE", host="127.0.0.1") is None
    assert rejection(known, calling="PACS", called="NEUROTRIAGE", host="10.0.0.1") == ADDRESS_UNKNOWN


def test_the_host_of_an_address_is_told_without_waiting_for_a_name_server() -> None:
    known = ListedHosts(
        settings("0.0.0.0", ("A", "10.1.2.0/24"), ("B", "localhost"), ("C", "no-such-host.invalid"))  # noqa: S104
    )
    assert known.host_of("127.0.0.1") is None  # nothing was looked up yet
    known.start()
    assert known.host_of("127.0.0.1") == "localhost"
    assert known.host_of("::ffff:10.1.2.9") == "10.1.2.0/24"
    assert known.host_of("10.1.3.9") is None
    known.close()


@pytest.mark.parametrize(("places", "holders"), [(32, 2), (32, 10), (5, 5), (3, 2), (7, 1), (64, 3)])
def test_whatever_others_hold_each_holder_gets_its_own_places(places: int, holders: int) -> None:
    shares = Shares(places, range(holders))
    held: Counter[int] = Counter()
    greedy = 0
    while shares.admits(greedy, held):
        held[greedy] += 1
    assert held[greedy] >= places // holders
    for other in range(1, holders):
        for _ in range(max(1, places // (2 * holders))):
            assert shares.admits(other, held)
            held[other] += 1
    assert held.total() <= places


def test_deflated_is_never_offered_and_jpeg_is() -> None:
    assert DeflatedExplicitVRLittleEndian not in transfer_syntaxes()
    assert JPEGBaseline8Bit in transfer_syntaxes()
    for context in supported_contexts():
        assert DeflatedExplicitVRLittleEndian not in context.transfer_syntax


def test_every_storage_class_of_the_standard_is_taken_but_those_of_no_patient() -> None:
    offered = {str(context.abstract_syntax) for context in supported_contexts()}
    known = {uid: entry[0] for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class"}
    storage = {uid for uid, name in known.items() if "Storage" in name and "Commitment" not in name}
    assert sorted(known[uid] for uid in storage - offered) == [
        "CT Defined Procedure Protocol Storage",
        "Color Palette Storage",
        "Generic Implant Template Storage",
        "Hanging Protocol Storage",
        "Implant Assembly Template Storage",
        "Implant Template Group Storage",
        "Inventory Storage",
        "Media Storage Directory Storage",  # DICOMDIR: a file, never sent
        "Protocol Approval Storage",
        "XA Defined Procedure Protocol Storage",
    ]


def test_more_than_images_is_taken_so_that_whole_studies_arrive() -> None:
    offered = {str(context.abstract_syntax) for context in supported_contexts()}
    assert len(offered) > 180
    for uid in (
        "1.2.840.10008.1.1",  # Verification
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
        "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation, which pydicom does not know yet
        "1.2.840.10008.5.1.4.1.1.6",  # retired Ultrasound
        "1.3.12.2.1107.5.9.1",  # Siemens CSA Non-Image
    ):
        assert uid in offered
