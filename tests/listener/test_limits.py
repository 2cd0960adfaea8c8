"""Limits of each peer: associations, bytes a day, unfinished bytes, a rate; and further AE titles of ours."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import MRImageStorage

from dicom_listener.admission import quotas as quotas_module
from dicom_listener.admission.places import CROWDED, HANDSHAKES_PER_ADDRESS, STRANGER, Places
from dicom_listener.admission.quotas import Quotas
from dicom_listener.association import upper_layer
from dicom_listener.server import Listener
from neurotriage.core.settings import Peer
from tests.conftest import until
from tests.listener.conftest import associate, instance, status_of
from tests.listener.test_request import context
from tests.listener.test_transport import associated, closes, p_data, status_after, store_command

Listen = Callable[..., tuple[Listener, int]]


def test_a_peer_has_no_more_associations_than_its_own_limit(listen: Listen) -> None:
    peers = [
        {"ae_title": "A", "host": "127.0.0.1", "max_associations": 1},
        {"ae_title": "B", "host": "127.0.0.1"},
    ]
    _, port = listen(listener={"max_associations": 8}, peer=peers)
    first = associate(port, calling="A")
    assert first.is_established
    second = associate(port, calling="A")
    assert second.is_rejected
    answer = second.acceptor.primitive
    assert answer is not None
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    other = associate(port, calling="B")
    assert other.is_established
    other.release()
    first.release()
    until(lambda: associate(port, calling="A").is_established)


def test_a_peer_that_has_sent_its_share_of_a_day_is_refused_also_after_a_restart(listen: Listen) -> None:
    peers = [{"ae_title": "SENDER", "host": "127.0.0.1", "max_bytes_per_day": 10_000}]
    listener, port = listen(peer=peers)
    association = associate(port)
    assert [status_of(association, instance(number=number)) for number in (1, 2, 3)] == [0, 0, 0xA700]
    association.release()
    assert associate(port).is_rejected
    listener.stop()
    _, port = listen(peer=peers)
    assert associate(port).is_rejected


@pytest.mark.unit
def test_a_quota_begins_anew_each_day_and_a_damaged_file_counts_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Peer(ae_title="A", host="10.0.0.1", max_bytes_per_day=10)
    quotas = Quotas(tmp_path / "quotas.json")
    quotas.add(peer, 10)
    document = quotas.unsaved()
    assert document is not None
    assert quotas.unsaved() is None
    quotas.save(document)
    assert Quotas(tmp_path / "quotas.json").is_exceeded(peer)
    today = quotas_module._today()
    monkeypatch.setattr(quotas_module, "_today", lambda: today.replace(year=today.year + 1))
    assert not quotas.is_exceeded(peer)
    assert not Quotas(tmp_path / "quotas.json").is_exceeded(peer)
    monkeypatch.undo()
    for content in (b"", b"[]", b'{"day": 3}', b'{"day": "2026-01-01", "sent_bytes": 4}', b"\xff"):
        (tmp_path / "quotas.json").write_bytes(content)
        assert not Quotas(tmp_path / "quotas.json").is_exceeded(peer)


def test_objects_that_are_begun_and_not_finished_have_a_limit(listen: Listen) -> None:
    listener, port = listen(listener={"max_unfinished_bytes": 300_000})
    image = context(3, MRImageStorage.encode())
    first, second = associated(port, image), associated(port, image)
    first.sendall(p_data(3, 3, store_command(b"1.2.1")) + p_data(3, 0, bytes(100_000)) * 2)
    until(lambda: listener._around is not None and not listener._around.unfinished.none)
    second.sendall(p_data(3, 3, store_command(b"1.2.2")) + p_data(3, 0, bytes(100_000)) * 2)
    second.sendall(p_data(3, 2, bytes(10)))
    assert status_after(second) == 0xA700
    first.sendall(p_data(3, 2, bytes(10)))
    assert status_after(first) == 0
    second.sendall(p_data(3, 3, store_command(b"1.2.2")) + p_data(3, 2, bytes(100_000)))
    assert status_after(second) == 0
    assert len(listener.spool.waiting()) == 2


def test_an_object_longer_than_the_limit_ends_its_association(listen: Listen) -> None:
    listener, port = listen(listener={"max_object_bytes": 150_000})
    connection = associated(port, context(3, MRImageStorage.encode()))
    connection.sendall(p_data(3, 3, store_command(b"1.2.1")) + p_data(3, 0, bytes(100_000)) * 2)
    assert connection.recv(1) == b"\x07"
    assert closes(connection, within_s=5)
    assert listener.spool.waiting() == []


def test_an_object_that_comes_too_slowly_ends_its_association(
    listen: Listen, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(upper_layer, "_RATE_AFTER_S", 0.5)
    _, port = listen(listener={"min_bytes_per_s": 1_000_000})
    connection = associated(port, context(3, MRImageStorage.encode()))
    connection.sendall(p_data(3, 3, store_command(b"1.2.1")) + p_data(3, 0, bytes(1000)))
    assert connection.recv(1) == b"\x07"
    assert "object_too_slow" in "".join(capfd.readouterr())


def test_each_ae_title_of_ours_has_callers_of_its_own(listen: Listen) -> None:
    peers = [{"ae_title": title, "host": "127.0.0.1"} for title in ("CT1", "MR1")]
    titles = [{"ae_title": "TRIAGE_ER", "calling": ["CT1"]}, {"ae_title": "TRIAGE_ALL"}]
    _, port = listen(listener={"called": titles}, peer=peers)
    for calling, called, accepted in (
        ("CT1", "TRIAGE_ER", True),
        ("MR1", "TRIAGE_ER", False),
        ("MR1", "TRIAGE_ALL", True),
        ("MR1", "NEUROTRIAGE", True),
        ("MR1", "OTHER", False),
    ):
        association = associate(port, calling=calling, called=called)
        assert association.is_established is accepted, (calling, called)
        if accepted:
            association.release()


@pytest.mark.unit
def test_handshakes_of_strangers_take_no_places_of_listed_hosts() -> None:
    for many_strangers, room in ((False, 4), (True, HANDSHAKES_PER_ADDRESS)):
        places = Places(10, ["10.0.0.1"], many_strangers=many_strangers)
        came = [places.enter(("s", n), "10.9.9.9", None, in_handshake=True) for n in range(room + 1)]
        assert came[:-1] == [None] * room
        assert came[-1] in (STRANGER, CROWDED)
        assert places.enter("listed", "10.0.0.1", "10.0.0.1", in_handshake=True) is None
        assert places.finish_handshake("listed", "10.0.0.1") is None
        assert places.finish_handshake("gone", "10.0.0.1") == CROWDED
        places.leave("listed")
        assert len(places) == room


def test_a_released_association_is_noted_with_its_id(listen: Listen) -> None:
    listener, port = listen()
    connection = associated(port)
    connection.sendall(struct.pack(">BxLL", 5, 4, 0))
    until(lambda: len(listener.spool.ended()) == 1)
