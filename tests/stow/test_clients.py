"""Other clients: Orthanc's DICOMweb plugin, and one that shows a certificate."""

import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE

from dicom_listener.admission import tls as tls_module
from dicom_listener.stow import connections as connections_module
from neurotriage.core.settings import ServerTls
from neurotriage.dicom import requestor
from neurotriage.embedded.process import free_port
from tests.conftest import absent, until
from tests.files.conftest import as_file
from tests.listener.conftest import data_set_of, encoded, instance, status_of
from tests.stow.conftest import HEADERS, TOKEN, Service, body

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def test_orthanc_stores_a_study_here(orthanc: None, serve: Callable[..., Service], tmp_path: Path) -> None:
    if not _PLUGIN.is_file():
        absent("orthanc", "Orthanc's DICOMweb plugin is not installed (Debian: apt install orthanc-dicomweb)")
    service = serve()
    http_port, dicom_port = free_port(), free_port()
    configuration = {
        "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "AuthenticationEnabled": False,
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {
            "Enable": True,
            "Servers": {
                "us": {
                    "Url": service.url,
                    "HttpHeaders": {"Authorization": f"Bearer {TOKEN}"},
                    "HasDelete": False,
                }
            },
        },
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
        try:
            until(lambda: _answers(http_port))
            _fill(dicom_port)
            asked = {"Resources": _get(http_port, "/studies"), "Synchronous": True}
            told = _get(http_port, "/dicom-web/servers/us/stow", json.dumps(asked).encode())
        finally:
            process.terminate()
            process.wait(20)
    assert told, (tmp_path / "log").read_text()
    assert sorted(service.uids) == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3"]
    pixels = encoded(instance())[-8192:]
    assert any(data_set_of(path).endswith(pixels) for path in service.spool.waiting())


def _answers(port: int) -> bool:
    try:
        _get(port, "/system")
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def _get(port: int, path: str, data: bytes | None = None) -> object:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=data, timeout=30) as answer:
        return json.loads(answer.read())


def _fill(port: int) -> None:
    entity = AE("MODALITY")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    association = requestor.associate(entity, "127.0.0.1", port, called="ORTHANC")
    assert association.is_established
    assert [status_of(association, instance(number=number)) for number in (1, 2, 3)] == [0, 0, 0]
    association.release()


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A CA, our certificate for 127.0.0.1, and those of a peer, of nobody, and of another CA."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    for ca in ("ca", "other-ca"):
        words = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={ca}")
        _openssl(
            folder,
            *words,
            "-keyout",
            f"{ca}.key",
            "-out",
            f"{ca}.pem",
            "-addext",
            "keyUsage=critical,keyCertSign",
        )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    for name, title, ca in (
        ("server", "us", "ca"),
        ("peer", "CT1", "ca"),
        ("nobody", "NOBODY", "ca"),
        ("stranger", "CT1", "other-ca"),
    ):
        request = ("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={title}")
        _openssl(folder, *request, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        sign = ("x509", "-req", "-days", "2", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial")
        _openssl(folder, *sign, "-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", "names")
    return folder


def _status(service: Service, folder: Path, name: str | None, token: str = "") -> int | str:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if name is not None:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    headers = {**HEADERS, "Authorization": f"Bearer {token}" if token else ""}
    try:
        with httpx.Client(verify=context) as client:
            content = body(as_file(instance()))
            return client.post(f"{service.url}/studies", content=content, headers=headers).status_code
    except httpx.HTTPError as error:
        return type(error).__name__


@pytest.mark.unit
def test_a_certificate_that_our_ca_signed_stands_for_its_peer(
    serve: Callable[..., Service], certificates: Path
) -> None:
    tls = ServerTls(
        certificate=certificates / "server.pem", key=certificates / "server.key", ca=certificates / "ca.pem"
    )
    service = serve(tls=tls.model_dump())
    assert _status(service, certificates, "peer") == 200
    assert _status(service, certificates, "nobody") == 401
    assert _status(service, certificates, "nobody", TOKEN) == 200
    assert isinstance(_status(service, certificates, "stranger"), str)
    assert isinstance(_status(service, certificates, None), str)
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"http://127.0.0.1:{service.port}/studies", content=b"x", timeout=10)
    assert service.uids == ["1.2.3.1.1"] * 2


@pytest.mark.unit
def test_silent_handshakes_are_counted_and_end_soon(
    serve: Callable[..., Service], certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two requests at once, an address holds four connections: the others are closed as they come."""
    monkeypatch.setitem(connections_module._TLS_DEADLINES, "ssl_handshake_timeout", 1.0)
    tls = ServerTls(certificate=certificates / "server.pem", key=certificates / "server.key")
    service = serve(max_requests=2, tls=tls.model_dump())
    silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(40)]
    started = time.monotonic()
    assert sum(_closes(client, 0.1) for client in silent) == 36
    assert time.monotonic() - started < 1.0
    assert all(_closes(client, 5.0) for client in silent)
    assert _status(service, certificates, None, TOKEN) == 200


def _closes(client: socket.socket, within_s: float) -> bool:
    client.settimeout(within_s)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.unit
def test_a_renewed_certificate_is_used_without_a_restart(
    serve: Callable[..., Service], certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_module, "_LOOK_INTERVAL_S", 0.0)
    tls = ServerTls(certificate=certificates / "server.pem", key=certificates / "server.key")
    service = serve(tls=tls.model_dump())
    address = ("127.0.0.1", service.port)
    first = ssl.get_server_certificate(address)
    for kind in ("pem", "key"):
        (certificates / f"server.{kind}").write_bytes((certificates / f"nobody.{kind}").read_bytes())
    assert ssl.get_server_certificate(address) != first
    assert _status(service, certificates, None, TOKEN) == 200


@pytest.mark.unit
def test_a_key_may_have_a_password_and_old_cipher_suites_are_refused(
    serve: Callable[..., Service], certificates: Path
) -> None:
    (certificates / "password").write_text("secret\n")
    words = ("rsa", "-aes256", "-in", "server.key", "-out", "locked.key", "-passout", "file:password")
    _openssl(certificates, *words)
    tls = ServerTls(
        certificate=certificates / "server.pem",
        key=certificates / "locked.key",
        key_password_file=certificates / "password",
    )
    service = serve(tls=tls.model_dump())
    assert _status(service, certificates, None, TOKEN) == 200
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-SHA256")  # CBC, which Python allows
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", service.port)) as plain:
        context.wrap_socket(plain, server_hostname="127.0.0.1")
