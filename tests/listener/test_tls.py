"""TLS of the listener's ports: who is let in, and what is said of whoever is not."""

import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from sqlalchemy import Engine
from structlog.testing import capture_logs

from dicom_listener.admission import tls as tls_module
from dicom_listener.admission.certificates import Pair, TestAuthority
from dicom_listener.ingest.notes import ingest_notes
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.server import Listener
from neurotriage.core.certificates import expiries
from neurotriage.core.settings import (
    ConfigurationError,
    Settings,
    require_protected_ports,
)
from tests.conftest import until
from tests.listener.conftest import associate, data_set_of, instance, rows
from tests.listener.test_request import a_associate_rq
from tests.listener.test_request import context as image_context
from tests.listener.test_transport import closes, connect, p_data, store_command

Listen = Callable[..., tuple[Listener, int]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: TestAuthority) -> Pair:
    return authority.pair("listener", ["localhost", "127.0.0.1"])


@pytest.fixture(scope="module")
def peer(authority: TestAuthority) -> Pair:
    return authority.pair("CT1", [])


@pytest.fixture
def encrypted(authority: TestAuthority, ours: Pair) -> dict[str, object]:
    """``[listener]`` of a port with TLS."""
    files = {"certificate": str(ours.certificate), "key": str(ours.key), "ca": str(authority.certificate)}
    return {"tls": files}


def client(authority: TestAuthority, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def answer_over_tls(port: int, context: ssl.SSLContext, *, calling: bytes = b"SENDER".ljust(16)) -> int:
    """The type of the PDU that answers an A-ASSOCIATE-RQ; 0 where the connection is closed instead."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(a_associate_rq(calling=calling))
            answer = connection.recv(1)
            return answer[0] if answer else 0
    except (ssl.SSLError, ConnectionError):
        return 0


ACCEPTED, REJECTED, CLOSED = 2, 3, 0


Logged = list[MutableMapping[str, Any]]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """What is logged, by any thread: output that is captured loses what is written while it is read."""
    with capture_logs() as entries:
        yield entries


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_peer_with_a_certificate_of_the_authority_is_served(
    listen: Listen,
    encrypted: dict[str, object],
    authority: TestAuthority,
    peer: Pair,
    version: ssl.TLSVersion,
) -> None:
    _, port = listen(listener=encrypted)
    context = client(authority, peer)
    context.minimum_version = context.maximum_version = version
    assert answer_over_tls(port, context) == ACCEPTED


@pytest.mark.usefixtures("dcmtk")
def test_dcmtk_sends_over_tls(
    listen: Listen, encrypted: dict[str, object], authority: TestAuthority, peer: Pair
) -> None:
    _, port = listen(listener=encrypted)
    secure = ["+tls", str(peer.key), str(peer.certificate), "+cf", str(authority.certificate)]
    command = ["echoscu", "-aec", "NEUROTRIAGE", *secure, "127.0.0.1", str(port)]
    subprocess.run(command, check=True, timeout=30)


def no_certificate(authority: TestAuthority, folder: Path, peer: Pair) -> ssl.SSLContext:
    return client(authority)


def of_another_authority(authority: TestAuthority, folder: Path, peer: Pair) -> ssl.SSLContext:
    return client(authority, TestAuthority(folder).pair("CT1", []))


def expired(authority: TestAuthority, folder: Path, peer: Pair) -> ssl.SSLContext:
    return client(authority, authority.pair("expired", [], days=-1))


def too_old(authority: TestAuthority, folder: Path, peer: Pair) -> ssl.SSLContext:
    context = client(authority, peer)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(
    ("stranger", "cause"),
    [
        (no_certificate, "it showed no certificate"),
        (of_another_authority, "its certificate is not accepted: "),
        (expired, "its certificate is not accepted: certificate has expired"),
        (too_old, "it offers no TLS 1.2 or 1.3"),
    ],
)
def test_whoever_cannot_prove_itself_is_refused_and_a_row_names_the_cause(
    listen: Listen,
    encrypted: dict[str, object],
    authority: TestAuthority,
    peer: Pair,
    engine: Engine,
    quarantine: Quarantine,
    tmp_path: Path,
    logged: Logged,
    stranger: Callable[..., ssl.SSLContext],
    cause: str,
) -> None:
    listener, port = listen(listener=encrypted)
    assert answer_over_tls(port, stranger(authority, tmp_path / "other", peer)) == CLOSED
    until(lambda: "handshake_failed" in str(logged))
    assert cause in str(logged)
    assert answer_over_tls(port, client(authority, peer)) == ACCEPTED
    listener.stop()
    ingest_notes(engine, listener.spool, quarantine)
    ((told, host, times),) = rows(engine, "select cause, peer_host, times from refusals")
    assert (str(told).startswith(cause), host, times) == (True, "127.0.0.1", 1)


def test_plain_dicom_on_a_port_with_tls_and_tls_on_a_plain_port_are_named(
    listen: Listen, encrypted: dict[str, object], authority: TestAuthority, logged: Logged
) -> None:
    listener, port = listen(listener={**encrypted, "also": [{"port": 0}]})
    plain = connect(port)
    plain.sendall(a_associate_rq())
    assert closes(plain, within_s=5)
    until(lambda: "plain DICOM on a port with TLS" in str(logged))
    assert answer_over_tls(listener.ports[1], client(authority)) == CLOSED
    until(lambda: "it spoke TLS to a port without TLS" in str(logged))


def test_several_ports_are_served_at_once(
    listen: Listen, encrypted: dict[str, object], authority: TestAuthority, peer: Pair
) -> None:
    listener, port = listen(listener={**encrypted, "also": [{"port": 0}]})
    assert answer_over_tls(port, client(authority, peer)) == ACCEPTED
    plain = associate(listener.ports[1])
    assert plain.send_c_echo().Status == 0
    plain.release()


def test_a_peer_is_known_by_its_certificate_wherever_it_comes_from(
    listen: Listen, encrypted: dict[str, object], authority: TestAuthority, peer: Pair
) -> None:
    other = authority.pair("MR1", [])
    peers = [
        {"ae_title": "CT1", "certificate_sha256": peer.sha256},
        {"ae_title": "MR1", "certificate_subject": "CN=MR1"},
        {"ae_title": "FAR", "host": "10.9.9.9", "certificate_sha256": peer.sha256},
    ]
    _, port = listen(listener=encrypted, peer=peers)
    for pair, title, answer in (
        (peer, b"CT1", ACCEPTED),
        (other, b"MR1", ACCEPTED),
        (other, b"CT1", REJECTED),
        (peer, b"MR1", REJECTED),
        (peer, b"FAR", REJECTED),
    ):
        context = client(authority, pair)
        assert answer_over_tls(port, context, calling=title.ljust(16)) == answer, (title, answer)


def test_silent_tls_clients_keep_nobody_out_and_are_closed(
    listen: Listen,
    encrypted: dict[str, object],
    authority: TestAuthority,
    peer: Pair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dicom_listener.server.HANDSHAKE_DEADLINE_S", 2.0)
    _, port = listen(listener=encrypted)
    silent = [connect(port) for _ in range(32)]
    started = time.monotonic()
    assert answer_over_tls(port, client(authority, peer)) == ACCEPTED
    assert time.monotonic() - started < 2.0
    assert all(closes(connection, within_s=6) for connection in silent)


def test_a_renewed_certificate_is_used_without_a_restart(
    listen: Listen, authority: TestAuthority, peer: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_module, "_LOOK_INTERVAL_S", 0.0)
    pair = authority.pair("renewed", ["localhost"])
    files = {"certificate": str(pair.certificate), "key": str(pair.key), "ca": str(authority.certificate)}
    _, port = listen(listener={"tls": files})
    first = shown(port, client(authority, peer))
    authority.pair("renewed", ["localhost"])
    assert shown(port, client(authority, peer)) != first
    good = pair.certificate.read_bytes()
    pair.certificate.write_text("not a certificate")
    second = shown(port, client(authority, peer))  # the former one goes on serving
    assert second != first
    pair.certificate.write_bytes(good)
    assert shown(port, client(authority, peer)) == second


def shown(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate of the listener."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.getpeercert(binary_form=True) or b""


def test_a_key_may_have_a_password_in_a_file(
    listen: Listen, authority: TestAuthority, peer: Pair, tmp_path: Path
) -> None:
    pair = authority.pair("locked", ["localhost"], password="sesame")
    files: dict[str, object] = {
        "certificate": str(pair.certificate),
        "key": str(pair.key),
        "ca": str(authority.certificate),
    }
    with pytest.raises(ConfigurationError, match="locked"):
        listen(listener={"tls": files})
    (tmp_path / "password").write_text("sesame\n")
    _, port = listen(listener={"tls": {**files, "key_password_file": str(tmp_path / "password")}})
    assert answer_over_tls(port, client(authority, peer)) == ACCEPTED


@pytest.mark.unit
def test_a_network_port_without_tls_needs_a_word() -> None:
    def settings(**listener: object) -> Settings:
        return Settings.model_validate({"listener": listener})

    for secure in ({"host": "127.0.0.1"}, {"host": "10.0.0.1", "unencrypted": ["10.0.0.0/8"]}):
        require_protected_ports(settings(**secure))
    with pytest.raises(ConfigurationError, match=r"10\.0\.0\.1:11112 .* not encrypted"):
        require_protected_ports(settings(host="10.0.0.1"))
    with pytest.raises(ConfigurationError, match=r"10\.0\.0\.1:104"):
        require_protected_ports(settings(also=[{"host": "10.0.0.1", "port": 104}]))


def test_a_port_in_plain_text_takes_named_networks_only(listen: Listen, logged: Logged) -> None:
    _, port = listen(listener={"host": "0.0.0.0", "unencrypted": ["10.9.9.0/24"]})  # noqa: S104
    own = _own_address()
    if own is None:
        pytest.skip("this host has no address but loopback")
    stranger = socket.create_connection((own, port), timeout=10)
    assert closes(stranger, within_s=5)
    until(lambda: "its address is in no network of this port's" in str(logged))


def _own_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
        return None if address.startswith("127.") else address


def test_a_listener_tells_which_of_its_certificates_ends_soon(
    listen: Listen, authority: TestAuthority, tmp_path: Path, logged: Logged
) -> None:
    short = TestAuthority(tmp_path).pair("short", [], days=3)
    tls = {"certificate": str(short.certificate), "key": str(short.key), "ca": str(authority.certificate)}
    listen(listener={"tls": tls})
    until(lambda: any(entry["event"] == "certificate_ends" for entry in logged))
    assert [entry["subject"] for entry in logged if entry["event"] == "certificate_ends"] == ["CN=short"]


@pytest.mark.unit
def test_the_end_of_every_certificate_is_known(authority: TestAuthority, tmp_path: Path) -> None:
    short = TestAuthority(tmp_path, days=10).pair("short", [], days=3)
    first, *_ = found = expiries(short.certificate, authority.certificate, None)
    assert (first.file, first.subject, len(found)) == (short.certificate, "CN=short", 2)
    with pytest.raises(ConfigurationError, match="no certificate in PEM form"):
        expiries(short.key)


def store_over_tls(connection: ssl.SSLSocket, uid: bytes, data_set: bytes, context_id: int = 1) -> int:
    """Send one object over an association; its status."""
    connection.sendall(p_data(context_id, 3, store_command(uid)))
    for start in range(0, len(data_set), 100_000):
        part = data_set[start : start + 100_000]
        connection.sendall(p_data(context_id, 2 if start + 100_000 >= len(data_set) else 0, part))
    answer = received(connection)
    return int.from_bytes(answer[answer.index(b"\0\0\0\x09\x02\0\0\0") + 8 :][:2], "little")


def received(connection: ssl.SSLSocket) -> bytes:
    """The rest of the next PDU."""
    header = read_exactly(connection, 6)
    return read_exactly(connection, int.from_bytes(header[2:], "big"))


def read_exactly(connection: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data)) or pytest.fail("the connection was closed")
    return data


def associated_over_tls(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection = context.wrap_socket(plain, server_hostname="localhost")
    connection.sendall(a_associate_rq(image_context(1, MRImageStorage.encode())))
    assert received(connection)
    return connection


def test_what_two_peers_send_by_tls_is_each_kept_byte_for_byte(
    listen: Listen, encrypted: dict[str, object], authority: TestAuthority, peer: Pair
) -> None:
    listener, port = listen(listener=encrypted)
    context = client(authority, peer)
    first, second = associated_over_tls(port, context), associated_over_tls(port, context)
    sent = [bytes([number]) * 1_300_000 for number in (1, 2, 3, 4)]
    for number, connection in enumerate((first, second, first, second)):
        assert store_over_tls(connection, f"1.2.{number + 1}".encode(), sent[number]) == 0
    assert [data_set_of(path) for path in listener.spool.waiting()] == sent
    first.close()
    second.close()


@pytest.mark.usefixtures("dcmtk")
def test_dcmtk_stores_large_images_over_tls(
    listen: Listen, encrypted: dict[str, object], authority: TestAuthority, peer: Pair, tmp_path: Path
) -> None:
    listener, port = listen(listener=encrypted)
    paths = []
    for number in range(1, 5):
        dataset = instance(number=number, Rows=512, Columns=512)
        dataset.PixelData = bytes([number, 1]) * (512 * 512)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        paths.append(tmp_path / f"{number}.dcm")
        dcmwrite(paths[-1], dataset, enforce_file_format=True)
    secure = ["+tls", str(peer.key), str(peer.certificate), "+cf", str(authority.certificate)]
    command = ["storescu", "-aec", "NEUROTRIAGE", *secure, "127.0.0.1", str(port), *map(str, paths)]
    subprocess.run(command, check=True, timeout=60)
    assert [dcmread(path) for path in listener.spool.waiting()] == [dcmread(path) for path in paths]


def test_a_request_that_comes_with_the_end_of_the_handshake_is_judged_by_its_certificate(
    listen: Listen, encrypted: dict[str, object], authority: TestAuthority, peer: Pair
) -> None:
    """In TLS 1.3 the client may send its first data right behind its certificate."""
    listener, port = listen(listener=encrypted, peer=[{"ae_title": "CT1", "certificate_sha256": peer.sha256}])
    context = client(authority, peer)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for request, answer in (
        (a_associate_rq(calling=b"CT1".ljust(16)), ACCEPTED),
        (b"\x04" + bytes(9), CLOSED),
    ):
        for _ in range(5):
            assert answer_in_one_flight(port, context, request) == answer
    until(lambda: len(listener._places) == 0, within_s=5)


def answer_in_one_flight(port: int, context: ssl.SSLContext, request: bytes) -> int:
    """The type of the PDU that answers what is sent in one segment with the end of the handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65_536))
            else:
                break
        secured.write(request)
        connection.sendall(outgoing.read())
        while True:
            try:
                answer = secured.read(1)
            except ssl.SSLWantReadError:
                came = connection.recv(65_536)
                if not came:
                    return CLOSED
                incoming.write(came)
            except ssl.SSLError:
                return CLOSED
            else:
                return answer[0] if answer else CLOSED
