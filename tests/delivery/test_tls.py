"""Encrypted sending: the peer must prove itself, and we prove ourselves by a certificate."""

import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from neurotriage.embedded.process import free_port
from tests.delivery.conftest import Site, listener, storescp
from tests.delivery.web import Service


@dataclass
class Party:
    certificate: Path
    key: Path


@dataclass
class Keys:
    """A certificate authority, and what it signed."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def party(self, name: str) -> Party:
        """A key and a certificate of the authority for ``localhost``."""
        party = Party(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / "names"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", party.key, "-out", request, *_for(name))
        signed = ("-CA", self.ca, "-CAkey", self.folder / "ca.key", "-CAcreateserial", "-days", "2")
        _openssl("x509", "-req", "-in", request, *signed, "-extfile", extensions, "-out", party.certificate)
        return party


def _for(name: str) -> tuple[str, str]:
    return "-subj", f"/CN={name}"


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)


def _authority(folder: Path) -> Keys:
    folder.mkdir()
    made = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *_for(f"authority {folder.name}"))
    # RFC 5280 4.2.1.3 wants it of an authority, and Python from 3.13 on insists.
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    _openssl("req", *made, *usage, "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    return Keys(folder)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return _authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return _authority(tmp_path_factory.mktemp("tls") / "other")


@pytest.fixture(scope="module")
def pacs_keys(ours: Keys) -> Party:
    return ours.party("pacs")


@pytest.fixture(scope="module")
def client_keys(ours: Keys) -> Party:
    return ours.party("client")


def _tls(ca: Keys, client: Party | None = None) -> dict[str, str]:
    told = {"ca": str(ca.ca)}
    return (
        told if client is None else {**told, "certificate": str(client.certificate), "key": str(client.key)}
    )


@pytest.fixture
def encrypted(dcmtk: None, ours: Keys, pacs_keys: Party, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """DCMTK's receiver over TLS; it wants a certificate of the client."""
    port, folder = free_port(), tmp_path / "received"
    tls = ["+tls", str(pacs_keys.key), str(pacs_keys.certificate), "+cf", str(ours.ca), "--require-peer-cert"]
    with storescp(folder, port, *tls):
        yield port, folder


def test_a_peer_that_wants_our_certificate_gets_it_and_the_results(
    site: Site, encrypted: tuple[int, Path], ours: Keys, client_keys: Party
) -> None:
    port, folder = encrypted
    site.destination("pacs", port, host="localhost", tls=_tls(ours, client_keys))
    site.results(1, 2)
    assert site.deliver() == 2
    assert len(list(folder.iterdir())) == 2


def test_without_our_certificate_such_a_peer_gets_nothing_and_somebody_is_told(
    site: Site, encrypted: tuple[int, Path], ours: Keys
) -> None:
    port, folder = encrypted
    site.destination("pacs", port, host="localhost", tls=_tls(ours))
    site.results(1)
    assert site.deliver() == 0
    assert site.states()[0][0] == "waiting"
    assert list(folder.iterdir()) == []


def _server_context(keys: Party) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys.certificate, keys.key)
    return context


def test_a_peer_with_the_certificate_of_a_stranger_gets_nothing(site: Site, ours: Keys, other: Keys) -> None:
    with listener(tls=_server_context(other.party("stranger"))) as port:
        site.destination("pacs", port, host="localhost", tls=_tls(ours))
        site.results(1)
        assert site.deliver() == 0
    ((state, _, sentence),) = site.states()
    assert state == "waiting"
    assert "cannot be trusted, or does not trust us: " in sentence
    assert all(site.column("alarmed_at"))


def test_a_peer_that_speaks_no_tls_gets_nothing(site: Site, ours: Keys) -> None:
    with listener() as port:
        site.destination("pacs", port, host="localhost", tls=_tls(ours))
        site.results(1)
        assert site.deliver() == 0
    assert site.states()[0][0] == "waiting"


def test_files_that_cannot_be_used_are_told(site: Site, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for ca in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        site.destination("pacs", 104, tls={"ca": str(ca)})
        site.results(1, study=f"1.2.{ca.stem == 'ca'}")
        site.deliver()
        assert "the files of [destination.tls] cannot be used" in site.states()[-1][2]


def test_a_web_service_must_prove_itself_too(site: Site, ours: Keys, other: Keys, pacs_keys: Party) -> None:
    with Service(tls=_server_context(pacs_keys)) as service:
        site.web("pacs", service.url, tls=_tls(ours))
        site.results(1)
        assert site.deliver() == 1
        site.web("pacs", service.url, tls=_tls(other))
        site.results(2, study="1.2.4")
        assert site.deliver() == 0
    assert "cannot be trusted" in site.states()[1][2]
    assert site.column("alarmed_at")[1]
