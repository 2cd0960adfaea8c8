"""Attacks on the acceptor over raw sockets: every wait has a deadline, every buffer a limit."""

import json
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest
from pydicom.uid import MRImageStorage
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from dicom_listener import connection as connection_module
from dicom_listener.admission.places import STRANGER_CONNECTIONS
from dicom_listener.association import upper_layer
from dicom_listener.association.upper_layer import PDU_DEADLINE_S, REQUEST_DEADLINE_S
from dicom_listener.server import Listener
from neurotriage.dicom import addresses
from neurotriage.dicom.addresses import Address
from tests.conftest import until
from tests.listener.conftest import associate, instance, status_of
from tests.listener.test_request import a_associate_rq, context

Listen = Callable[..., tuple[Listener, int]]


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.settimeout(10)
    return connection


def closes(connection: socket.socket, within_s: float) -> bool:
    """True when the other side ends the connection in time, whatever it says before."""
    connection.settimeout(within_s)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def cut_off_while_sending(connection: socket.socket, parts: Iterable[bytes], pause_s: float = 0.0) -> bool:
    """True when the other side ends the connection before all parts are sent."""
    try:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
    except OSError:
        return True
    return False


def echo_works(port: int) -> bool:
    association = associate(port)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return bool(status.get("Status", -1) == 0)


def open_connections(listener: Listener) -> int:
    """Connections that hold a place."""
    return len(listener._places)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_tcp_probes_take_no_place_of_a_real_peer(listen: Listen) -> None:
    listener, port = listen(listener={"max_associations": 3})
    for _ in range(12):
        connect(port).close()
    assert echo_works(port)
    until(lambda: open_connections(listener) == 0, within_s=REQUEST_DEADLINE_S / 2)


def test_silent_connections_take_no_place_and_are_closed(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upper_layer, "REQUEST_DEADLINE_S", 1.0)
    _, port = listen(listener={"max_associations": 3})
    silent = [connect(port) for _ in range(12)]
    assert echo_works(port)
    assert all(closes(connection, within_s=4) for connection in silent)


def test_one_host_cannot_open_connections_without_end(listen: Listen) -> None:
    _, port = listen(listener={"max_associations": 3})
    opened = [connect(port) for _ in range(40)]
    # All are silent, so until the deadline of a request only those that found no place are closed.
    until, refused = time.monotonic() + REQUEST_DEADLINE_S / 2, 0
    while refused < 40 - (3 + 16) and time.monotonic() < until:
        refused = sum(closes(connection, within_s=0.01) for connection in opened)
    assert refused == 40 - (3 + 16)
    for connection in opened:
        connection.close()


def test_associations_have_a_limit_and_a_place_becomes_free(listen: Listen) -> None:
    _, port = listen(listener={"max_associations": 2})
    first, second = associate(port), associate(port)
    assert first.is_established
    assert second.is_established
    assert associate(port).is_rejected
    first.release()
    until(lambda: echo_works(port))  # its thread ends a moment after the release
    second.release()


def test_a_peer_that_stops_inside_a_pdu_is_cut_off(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upper_layer, "PDU_DEADLINE_S", 0.5)
    _, port = listen()
    stuck = connect(port)
    stuck.sendall(b"\x01\x00\x00\x00\x01\x00half of an A-ASSOCIATE-RQ")
    assert closes(stuck, within_s=3)


def test_a_peer_that_dribbles_is_cut_off_by_the_deadline_of_the_whole_pdu(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upper_layer, "PDU_DEADLINE_S", 0.6)
    _, port = listen()
    slow = connect(port)
    started = time.monotonic()
    header = b"\x01\x00\x00\x00\x01\x00"
    assert cut_off_while_sending(slow, (bytes([byte]) for byte in header + bytes(100)), pause_s=0.1)
    assert time.monotonic() - started < REQUEST_DEADLINE_S * 0.8


def test_a_pdu_of_four_gigabytes_is_not_read(listen: Listen) -> None:
    _, port = listen()
    before = resident_bytes()
    greedy = connect(port)
    started = time.monotonic()
    greedy.sendall(b"\x01\x00\xff\xff\xff\xff")
    assert cut_off_while_sending(greedy, (bytes(1 << 20) for _ in range(200)))
    assert time.monotonic() - started < PDU_DEADLINE_S * 0.8  # at once, not at the deadline of the PDU
    assert resident_bytes() - before < 50 * 2**20
    assert echo_works(port)


def established(port: int) -> tuple[Association, socket.socket]:
    """An association, and its socket for sending what pynetdicom would not."""
    association = associate(port)
    assert association.is_established
    assert association.dul.socket is not None
    connection = association.dul.socket.socket
    assert connection is not None
    return association, connection


def p_data(context_id: int, control: int, payload: bytes) -> bytes:
    """A P-DATA-TF PDU (PS3.8 9.3.5)."""
    item = struct.pack(">LBB", len(payload) + 2, context_id, control) + payload
    return struct.pack(">BBL", 4, 0, len(item)) + item


def ends(association: Association, within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while association.is_established and time.monotonic() < end:
        time.sleep(0.02)
    return not association.is_established


@pytest.mark.parametrize(
    ("context_id", "control"),
    [(1, 1), (77, 0)],
    ids=["a command set without end", "a context that was not accepted"],
)
def test_abuse_of_an_association_ends_it(listen: Listen, context_id: int, control: int) -> None:
    _, port = listen()
    association, connection = established(port)
    try:
        for _ in range(40):
            connection.sendall(p_data(context_id, control, bytes(4096)))
    except OSError:
        pass  # cut off while sending
    assert ends(association)
    assert echo_works(port)


def store_command(sop_instance_uid: bytes = b"", sop_class_uid: bytes = MRImageStorage.encode()) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 table 9.3-1)."""

    def uid_element(element: int, uid: bytes) -> bytes:
        padded = uid + b"\0" * (len(uid) % 2)
        return struct.pack("<HHL", 0, element, len(padded)) + padded

    elements = uid_element(2, sop_class_uid)
    for element, value in ((0x100, 1), (0x110, 7), (0x700, 0), (0x800, 1)):
        elements += struct.pack("<HHLH", 0, element, 2, value)
    elements += uid_element(0x1000, sop_instance_uid)
    return struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements


def test_a_request_that_nobody_can_answer_ends_the_association(listen: Listen) -> None:
    """A C-STORE-RQ with an empty SOP Class UID gets no answer from pynetdicom."""
    listener, port = listen()
    association, connection = established(port)
    connection.sendall(p_data(3, 3, store_command(b"1.2", b"")) + p_data(3, 2, bytes(100)))
    assert ends(association)
    assert listener.spool.waiting() == []


def test_an_object_without_a_uid_in_its_command_costs_itself_alone(
    listen: Listen, capfd: pytest.CaptureFixture[str]
) -> None:
    listener, port = listen()
    association = associate(port)
    connection = association.dul.socket
    assert connection is not None
    association._reactor_checkpoint.clear()  # the answer is ours
    connection.send(p_data(3, 3, store_command()) + p_data(3, 2, bytes(100)))
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert cast(C_STORE, answer).Status == 0xC000
    assert status_of(association, instance()) == 0
    assert len(listener.spool.waiting()) == 1
    assert "instance_refused" in "".join(capfd.readouterr())


def test_a_fault_in_an_association_ends_it_and_its_connection(
    listen: Listen, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _, port = listen()

    def fail(*_: object) -> None:
        raise IndexError("a value of the peer")

    with monkeypatch.context() as patch:
        patch.setattr(connection_module, "Services", fail)
        connection = connect(port)
        connection.sendall(a_associate_rq())
        assert connection.recv(1) == b"\x07"  # A-ABORT
        connection.close()
    assert echo_works(port)
    assert "association_failed" in "".join(capfd.readouterr())


def test_the_listener_stops_while_a_peer_is_stuck_inside_a_pdu(listen: Listen) -> None:
    listener, port = listen()
    stuck = connect(port)
    stuck.sendall(b"\x01\x00\x00\x00\x01\x00half")
    working = associate(port)
    started = time.monotonic()
    listener.stop()
    assert time.monotonic() - started < PDU_DEADLINE_S * 0.8  # it did not wait for the rest of the PDU
    assert ends(working)
    assert closes(stuck, within_s=3)


def test_it_works_with_more_files_open_than_select_can_take(listen: Listen) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with ExitStack() as files:
        for _ in range(1050):
            files.enter_context(Path("/dev/null").open("rb"))
        _, port = listen()
        sender = connect(port)  # pynetdicom's own client cannot work here
        sender.sendall(a_associate_rq())
        assert sender.recv(6)[0] == 2  # A-ASSOCIATE-AC
        sender.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_association_aborted_in_mid_transfer_leaves_only_whole_instances(listen: Listen) -> None:
    listener, port = listen()
    association, connection = established(port)
    assert status_of(association, instance(number=1)) == 0
    connection.sendall(p_data(3, 3, store_command(b"1.2.3")))
    for _ in range(40):
        connection.sendall(p_data(3, 0, bytes(65_536)))  # a data set that is never finished
    (whole,) = listener.spool.waiting()
    temporary = whole.parents[1] / "tmp"
    until(lambda: any(temporary.iterdir()), within_s=PDU_DEADLINE_S)
    association.abort()
    until(lambda: not any(temporary.iterdir()), within_s=PDU_DEADLINE_S / 2)
    assert listener.spool.waiting() == [whole]


OTHERS = {"peer": [{"ae_title": title, "host": "127.0.0.1"} for title in ("A", "B", "C")]}


def connect_from(address: str, port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(address, 0))
    connection.settimeout(10)
    return connection


def test_strangers_hold_no_place_of_a_listed_peer(listen: Listen) -> None:
    """Each of four unlisted hosts opens as many connections as it can, and asks for nothing."""
    _, port = listen(listener={"max_associations": 3}, **OTHERS)
    silent = [connect_from(f"127.0.0.{2 + number % 4}", port) for number in range(120)]
    assert all(status_of_echo(port, "A") == 0 for _ in range(5))
    refused = sum(closes(connection, within_s=0.02) for connection in silent)
    assert refused == 120 - STRANGER_CONNECTIONS
    for connection in silent:
        connection.close()


def status_of_echo(port: int, calling: str) -> int:
    association = associate(port, calling=calling)
    if not association.is_established:
        return -1
    status = association.send_c_echo().get("Status", -1)
    association.release()
    return int(status)


def test_a_stranger_is_told_why_and_so_is_the_log(listen: Listen, capfd: pytest.CaptureFixture[str]) -> None:
    _, port = listen(peer=[{"ae_title": "A", "host": "10.9.9.0/24"}])
    assert associate(port, calling="A").is_rejected
    said = "".join(capfd.readouterr())
    assert "no [[peer]] has this address" in said
    assert all(part in said for part in ("127.0.0.1", "calling_ae_title", "NEUROTRIAGE"))


def test_one_listed_peer_cannot_keep_the_others_out(listen: Listen) -> None:
    _, port = listen(listener={"max_associations": 12}, **OTHERS)
    idle = []
    while (association := associate(port, calling="A")).is_established:
        idle.append(association)
    answer = association.acceptor.primitive
    assert answer is not None
    assert (answer.result, answer.diagnostic) == (2, 2)
    assert len(idle) == 12 - 2 * 2
    for calling in ("B", "C"):
        both = [associate(port, calling=calling) for _ in range(2)]
        assert all(other.send_c_echo().Status == 0 for other in both)
        idle += both
    assert associate(port, calling="B").is_rejected
    for association in idle:
        association.abort()


def test_an_association_without_progress_ends_whatever_it_says(listen: Listen) -> None:
    """One byte of a data set at a time, or echoes: neither holds a place for longer than the limit."""
    _, port = listen(listener={"progress_timeout_s": 1.0})
    echoing, (dripping, connection) = associate(port), established(port)
    started = time.monotonic()
    connection.sendall(p_data(3, 3, store_command()))
    dripped = cut_off_while_sending(connection, (p_data(3, 0, b"\0") for _ in range(200)), pause_s=0.05)
    assert dripped
    assert ends(dripping)
    assert time.monotonic() - started < 8
    until(lambda: not echo_is_answered(echoing), within_s=8)


def echo_is_answered(association: Association) -> bool:
    try:
        return "Status" in association.send_c_echo()
    except RuntimeError:  # the association is gone
        return False


def test_an_association_that_sends_data_sets_outlives_the_limit(listen: Listen) -> None:
    _, port = listen(listener={"progress_timeout_s": 1.0})
    association = associate(port)
    end = time.monotonic() + 2.5
    number = 0
    while time.monotonic() < end:
        number += 1
        assert status_of(association, instance(number=number)) == 0
    association.release()


def test_an_idle_association_ends_and_the_log_says_whose(
    listen: Listen, capfd: pytest.CaptureFixture[str]
) -> None:
    _, port = listen(listener={"network_timeout_s": 0.5})
    association = associate(port)
    assert ends(association)
    said = "".join(capfd.readouterr())
    assert "association_idle" in said
    assert "127.0.0.1" in said


def status_after(connection: socket.socket) -> int:
    """The status in the next response."""
    header = connection.recv(6, socket.MSG_WAITALL)
    body = connection.recv(int.from_bytes(header[2:], "big"), socket.MSG_WAITALL)
    return int.from_bytes(body[body.index(b"\0\0\0\x09\x02\0\0\0") + 8 :][:2], "little")


def associated(port: int, *contexts: bytes) -> socket.socket:
    """An association over a raw socket."""
    connection = connect(port)
    connection.sendall(a_associate_rq(*contexts))
    header = connection.recv(6, socket.MSG_WAITALL)
    assert header[0] == 2
    connection.recv(int.from_bytes(header[2:], "big"), socket.MSG_WAITALL)
    return connection


def test_what_a_context_does_not_offer_is_refused_and_the_association_goes_on(listen: Listen) -> None:
    listener, port = listen()
    connection = associated(port, context(1), context(3, MRImageStorage.encode()))
    connection.sendall(p_data(1, 3, store_command(b"1.2.3")) + p_data(1, 2, bytes(100)))
    assert status_after(connection) == 0x0122  # an image on the context of Verification
    cancel = struct.pack("<HHLHHHLHHHLH", 0, 0x100, 2, 0xFFF, 0, 0x120, 2, 1, 0, 0x800, 2, 0x101)
    connection.sendall(p_data(3, 3, cancel))  # C-CANCEL has no answer
    connection.sendall(p_data(3, 3, store_command(b"1.2.3")) + p_data(3, 2, bytes(100)))
    assert status_after(connection) == 0
    assert len(listener.spool.waiting()) == 1
    connection.close()


@pytest.mark.parametrize("unfinished", [True, False])
def test_an_association_that_is_released_within_an_object_is_not_noted_as_released(
    listen: Listen, unfinished: bool
) -> None:
    listener, port = listen()
    connection = associated(port, context(3, MRImageStorage.encode()))
    connection.sendall(p_data(3, 3, store_command(b"1.2.3")) + p_data(3, 0 if unfinished else 2, bytes(100)))
    if not unfinished:
        assert status_after(connection) == 0
    connection.sendall(struct.pack(">BxLL", 5, 4, 0))
    until(lambda: bool(listener.spool.ended()))
    (note,) = listener.spool.ended()
    assert json.loads(note.read_text())["released"] is not unfinished
    assert list((note.parents[1] / "tmp").iterdir()) == []


def test_a_disk_that_hangs_ends_no_deadline(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upper_layer, "REQUEST_DEADLINE_S", 1.0)
    released = threading.Event()
    _, port = listen(listener={"max_associations": 32})
    monkeypatch.setattr(os, "fsync", lambda _: released.wait(20))
    stuck = [associated(port, context(3, MRImageStorage.encode())) for _ in range(20)]
    for number, connection in enumerate(stuck):
        command = store_command(f"1.2.{number}".encode())
        connection.sendall(p_data(3, 3, command) + p_data(3, 2, bytes(100)))
    silent = connect(port)
    try:
        assert closes(silent, within_s=8)
    finally:
        released.set()


def test_a_slow_name_server_keeps_no_listed_address_waiting(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def slow(name: str) -> frozenset[Address]:
        answered.wait(20)
        return frozenset()

    monkeypatch.setattr(addresses, "addresses_of", slow)
    peers = [{"ae_title": "NAMED", "host": "ct2.invalid"}, {"ae_title": "CT1", "host": "127.0.0.1"}]
    _, port = listen(peer=peers)
    waiting = []
    for _ in range(6):
        connection = connect(port)
        connection.sendall(a_associate_rq(calling=b"NAMED".ljust(16)))
        waiting.append(connection)
    started = time.monotonic()
    try:
        assert status_of_echo(port, "CT1") == 0
        assert time.monotonic() - started < 5
    finally:
        answered.set()
