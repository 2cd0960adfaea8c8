"""Store requests to the running service: what is stored, what is answered, and what is refused."""

import concurrent.futures
import os
import select
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, MRImageStorage

from dicom_listener.refused_associations import Refusal, RefusedAssociations
from dicom_listener.spool import read_received
from dicom_listener.stow import connections as connections_module
from dicom_listener.stow import service as service_module
from dicom_listener.stow.server import require_encryption
from neurotriage.core.settings import CONFIG_VARIABLE, ConfigurationError, StowSettings, environment_of
from neurotriage.embedded.process import free_port
from tests.conftest import until
from tests.files.conftest import as_file, association_ids, ends
from tests.listener.conftest import data_set_of, encoded, instance
from tests.stow.conftest import BOUNDARY, HEADERS, OTHER_TOKEN, TOKEN, Service, body, settings_of

pytestmark = pytest.mark.unit

Serve = Callable[..., Service]


def _post(service: Service, content: object, path: str = "/studies", **headers: str) -> httpx.Response:
    merged = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post(f"{service.url}{path}", content=content, headers=merged, timeout=30)  # type: ignore[arg-type]


def _items(response: httpx.Response, tag: str) -> list[dict[str, object]]:
    """The items of a sequence of the answer, by tag and first value."""
    sequence = response.json().get(tag, {"Value": []})["Value"]
    return [{key: element.get("Value", [""])[0] for key, element in item.items()} for item in sequence]


def test_instances_are_durable_byte_for_byte_when_the_answer_names_them(serve: Serve) -> None:
    service = serve()
    files = [as_file(instance(number=number)) for number in (1, 2, 3)]
    answer = _post(service, body(*files))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert _items(answer, "00081199") == [
        {"00081150": MRImageStorage, "00081155": f"1.2.3.1.{number}"} for number in (1, 2, 3)
    ]
    assert {data_set_of(path) for path in service.spool.waiting()} == {
        encoded(instance(number=number)) for number in (1, 2, 3)
    }
    reception = read_received(service.spool.waiting()[0]).reception
    assert reception.peer == ("CT1", "127.0.0.1")


def test_only_a_request_that_was_stored_whole_is_noted_as_released(serve: Serve) -> None:
    service = serve()
    data = body(as_file(instance(number=1)), as_file(instance(number=2)))
    assert _post(service, data[:-200]).status_code == 400
    assert _post(service, body(as_file(instance()), b"no DICOM")).status_code == 202
    assert not service.spool.ended()
    for path in service.spool.waiting():
        path.unlink()
    assert _post(service, data).status_code == 200
    (end,) = ends(service.spool)
    assert end.released
    assert {end.association_id} == association_ids(service.spool)


def test_a_body_without_length_is_taken_as_it_comes(serve: Serve) -> None:
    service = serve()
    data = body(as_file(instance()))

    def slices() -> Iterator[bytes]:
        for begin in range(0, len(data), 777):
            yield data[begin : begin + 777]

    assert _post(service, slices()).status_code == 200
    assert data_set_of(service.spool.waiting()[0]) == encoded(instance())


def test_what_is_not_taken_is_named_with_its_reason_and_costs_no_other_part(serve: Serve) -> None:
    service = serve()
    answer = _post(
        service,
        body(
            as_file(instance(number=1)),
            as_file(instance(number=2), DeflatedExplicitVRLittleEndian),
            b"no DICOM",
            as_file(instance(number=3)),
        ),
    )
    assert answer.status_code == 202
    assert [item["00081155"] for item in _items(answer, "00081199")] == ["1.2.3.1.1", "1.2.3.1.3"]
    assert [item["00081197"] for item in _items(answer, "00081198")] == [0xC122, 0xC000]
    assert service.uids == ["1.2.3.1.1", "1.2.3.1.3"]
    assert not service.unfinished


def test_none_stored_is_a_conflict(serve: Serve) -> None:
    service = serve()
    answer = _post(service, body(as_file(instance("1.2.4"))), "/studies/1.2.3")
    assert answer.status_code == 409
    assert [item["00081197"] for item in _items(answer, "00081198")] == [0xA900]
    assert not service.uids
    assert _post(service, body(as_file(instance())), "/studies/1.2.3").status_code == 200


def test_the_answer_is_xml_where_that_is_asked_for(serve: Serve) -> None:
    files = as_file(instance()), b"no DICOM"
    answer = _post(serve(), body(*files), Accept="application/dicom+xml")
    assert answer.headers["content-type"].startswith("application/dicom+xml")
    root = ET.fromstring(answer.content)  # noqa: S314 - our own answer
    values = [value.text for value in root.iter("Value")]
    assert values == [MRImageStorage, "1.2.3.1.1", str(0xC000)]
    assert [element.get("keyword") for element in root] == ["ReferencedSOPSequence", "FailedSOPSequence"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong-wrong-wrong-wrong"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": f"Bearer {OTHER_TOKEN}"}, 200),
        ({"Accept": "text/html"}, 406),
        ({"Content_Type": "application/dicom"}, 415),
        ({"Content_Type": f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}'}, 415),
        ({"Content_Type": "multipart/related"}, 400),
        ({"Content_Type": "multipart/related; boundary=other"}, 400),
    ],
)
def test_each_fault_of_a_request_has_its_status(serve: Serve, headers: dict[str, str], status: int) -> None:
    service = serve()
    answer = _post(service, body(as_file(instance())), **headers)
    assert answer.status_code == status
    assert len(service.uids) == (status == 200)


def test_a_part_of_another_kind_is_unsupported(serve: Serve) -> None:
    data = body(as_file(instance())).replace(b"application/dicom\r", b"application/json\r")
    assert _post(serve(), data).status_code == 415


def test_a_body_that_ends_early_keeps_whole_parts_and_no_other(serve: Serve) -> None:
    service = serve()
    data = body(as_file(instance(number=1)), as_file(instance(number=2)))
    answer = _post(service, data[:-200])
    assert answer.status_code == 400
    assert service.uids == ["1.2.3.1.1"]
    assert not service.unfinished


def test_a_client_that_goes_away_leaves_no_part(serve: Serve) -> None:
    service = serve()
    data = body(as_file(instance(number=1)), as_file(instance(number=2)))
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(_head(len(data)) + data[: len(data) - 500])
    until(lambda: not service.unfinished, 10)
    assert "1.2.3.1.2" not in service.uids


def _head(length: int, token: str = TOKEN) -> bytes:
    lines = [
        "POST /studies HTTP/1.1",
        "Host: x",
        f"Content-Length: {length}",
        *(f"{name}: {value}" for name, value in HEADERS.items() if name != "Authorization"),
        f"Authorization: Bearer {token}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"max_part_bytes": 1000}, 409),
        ({"max_request_bytes": 1000}, 413),
        ({"max_parts": 1}, 413),
    ],
)
def test_each_limit_of_size_holds(serve: Serve, limits: dict[str, int], status: int) -> None:
    service = serve(**limits)
    data = body(as_file(instance(number=1)), as_file(instance(number=2)))
    assert _post(service, data).status_code == status
    # Without a length that is announced.
    assert _post(service, iter([data[:9000], data[9000:]])).status_code == status
    assert not service.unfinished
    assert len(service.uids) <= 2 * limits.get("max_parts", 0)


def test_a_full_disk_is_unavailable_and_not_a_success(serve: Serve) -> None:
    service = serve(min_free_bytes=1 << 60)
    answer = _post(service, body(as_file(instance())))
    assert answer.status_code == 503
    assert [item["00081197"] for item in _items(answer, "00081198")] == [0xA700]
    assert not service.uids
    assert not service.unfinished


def test_a_peer_that_has_sent_its_share_of_a_day_is_refused_also_after_a_restart(serve: Serve) -> None:
    data = body(as_file(instance()))
    service = serve(max_bytes_per_day=2 * len(data))
    assert [_post(service, data).status_code for _ in range(3)] == [200, 200, 429]
    service.stop()
    service = serve(max_bytes_per_day=2 * len(data))
    refused = _post(service, data)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 24 * 3600
    assert _post(service, data, Authorization=f"Bearer {OTHER_TOKEN}").status_code == 200


def test_whoever_is_refused_is_noted_for_the_database(serve: Serve) -> None:
    data = body(as_file(instance()))
    service = serve(max_bytes_per_day=1)
    assert _post(service, data, Authorization="Bearer nobody").status_code == 401
    assert _post(service, data).status_code == 200
    assert _post(service, data).status_code == 429
    service.stop()
    (note,) = service.spool.rejected()
    assert set(RefusedAssociations.from_json(note.read_bytes()).times) == {
        Refusal("STOW-RS: no token or certificate of a [[peer]]", "127.0.0.1"),
        Refusal("STOW-RS: the max_bytes_per_day of this [[peer]] is reached", "127.0.0.1", "CT1"),
    }


def test_one_peer_cannot_take_the_places_of_another(serve: Serve) -> None:
    service = serve(max_requests=4, max_requests_per_peer=2)
    data = body(as_file(instance()))
    held = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(2)]
    for client in held:
        client.sendall(_head(len(data)) + data[:300])
    until(lambda: _post(service, data).status_code == 503, 10)
    other = _post(service, data, Authorization=f"Bearer {OTHER_TOKEN}")
    assert other.status_code == 200
    for client in held:
        client.close()
    until(lambda: _post(service, data).status_code == 200, 10)


def test_a_sender_that_drips_is_ended(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "_SILENCE_S", 0.5)
    service = serve()
    data = body(as_file(instance()))
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(_head(len(data)) + data[:300])
        deadline = time.monotonic() + 15
        while not select.select([client], [], [], 0.05)[0]:  # it goes on until it is answered
            assert time.monotonic() < deadline
            client.sendall(b"x")
        answer = client.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408")
    assert not service.unfinished


def test_a_sender_that_falls_silent_is_ended(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "_SILENCE_S", 0.3)
    service = serve()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(_head(10_000) + body(as_file(instance()))[:300])
        client.settimeout(15)
        assert client.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_connection_without_a_request_is_ended(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "_HEADERS_WITHIN_S", 0.3)
    service = serve()
    for start in (b"", b"POST /studies HTTP/1.1\r\nHost: x\r\n"):
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            client.sendall(start)
            client.settimeout(15)
            assert _ended(client)


def _ended(client: socket.socket) -> bool:
    try:
        return client.recv(100) == b""
    except ConnectionResetError:
        return True


def test_headers_without_end_are_refused(serve: Serve) -> None:
    service = serve()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.settimeout(15)
        client.sendall(b"POST /studies HTTP/1.1\r\nX: " + b"x" * 200_000)
        try:
            answer = client.recv(100)
        except ConnectionResetError:
            answer = b""
    assert answer in (b"",) or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert _post(service, body(as_file(instance()))).status_code == 200


def _is_closed(client: socket.socket) -> bool:
    """Whether the service has ended a connection that does not block."""
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_connections_that_do_nothing_keep_nobody_out(serve: Serve) -> None:
    """One address holds half of the connections at most."""
    service = serve(max_requests=4)
    idle = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(50)]
    for client in idle:
        client.setblocking(False)
    until(lambda: sum(_is_closed(client) for client in idle) == 50 - 8, within_s=5)
    for client in idle:
        client.close()
    until(lambda: _answers(service), 10)


def _answers(service: Service) -> bool:
    try:
        return _post(service, body(as_file(instance()))).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_same_instance_from_eight_senders_at_once_is_stored_by_each(serve: Serve) -> None:
    service = serve(max_requests_per_peer=8)
    data = body(as_file(instance()))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: _post(service, data).status_code, range(8)))
    assert statuses == [200] * 8
    assert {data_set_of(path) for path in service.spool.waiting()} == {encoded(instance())}


def test_a_token_is_changed_without_a_restart(serve: Serve, tmp_path: Path) -> None:
    service = serve()
    (tmp_path / "ct").write_text("another-token-of-the-peer")
    assert _post(service, body(as_file(instance()))).status_code == 401
    changed = _post(service, body(as_file(instance())), Authorization="Bearer another-token-of-the-peer")
    assert changed.status_code == 200


def test_a_network_without_encryption_must_be_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="unencrypted"):
        require_encryption(StowSettings(host="10.1.2.3"))
    require_encryption(StowSettings(host="10.1.2.3", unencrypted=True))
    require_encryption(StowSettings(host="127.0.0.1"))


def test_a_large_instance_is_never_in_memory(tmp_path: Path) -> None:
    """200 MB in one part raise the memory of the process by less than 50 MB."""
    settings = settings_of(tmp_path, port=free_port())
    assert settings.stow is not None
    environment = {**os.environ, **environment_of(settings), CONFIG_VARIABLE: os.devnull}
    process = subprocess.Popen([sys.executable, "-m", "neurotriage", "stow"], env=environment)
    url = f"http://127.0.0.1:{settings.stow.port}/studies"
    try:

        def small() -> int:
            try:
                return httpx.post(url, content=body(as_file(instance())), headers=HEADERS).status_code
            except httpx.ConnectError:
                return 0

        until(lambda: small() == 200)
        before = _peak_kb(process.pid)
        head = as_file(instance(number=2))[:-8192]
        cut = head[:-4] + (200_000_000).to_bytes(4, "little")

        def slices() -> Iterator[bytes]:
            yield f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + cut
            for _ in range(200):
                yield bytes(1_000_000)
            yield f"\r\n--{BOUNDARY}--\r\n".encode()

        answer = httpx.post(url, content=slices(), headers=HEADERS, timeout=120)
        assert answer.status_code == 200
        assert _peak_kb(process.pid) - before < 50_000
        (large,) = (path for path in _spooled(settings.storage.root) if path.stat().st_size > 1_000_000)
        assert large.stat().st_size - 200_000_000 < 3000
    finally:
        process.terminate()
        assert process.wait(20) == 0


def _spooled(root: Path) -> list[Path]:
    return list(root.glob("spool/stow/new/*.dcm"))


def _peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
