"""A test authority with certificates for trials of TLS."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from neurotriage.core.storage import write_durably

TEST_DAYS: Final = 365
# Clocks differ.
_EARLIER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """Files of a certificate and its key, and the fingerprint for ``[[peer]] certificate_sha256``."""

    certificate: Path
    key: Path
    sha256: str


class TestAuthority:
    """An authority for trials, with its certificate in ``folder``/ca.pem; its key is never written.

    Raises ``OSError`` where the files cannot be written.
    """

    __test__ = False  # pytest would take it for a test

    def __init__(self, folder: Path, days: int = TEST_DAYS) -> None:
        self._folder, self._days = folder, days
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "neurotriage test authority")])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,  # RFC 5280 4.2.1.3 wants it of an authority
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        own = self._builder(self._name, self._key.public_key()).add_extension(usage, critical=True)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate = folder / "ca.pem"
        self._write(self.certificate, self._signed(own).public_bytes(serialization.Encoding.PEM))

    def pair(self, name: str, hosts: list[str], *, days: int | None = None, password: str = "") -> Pair:
        """A key and a certificate for server and client, with common name ``name``, for ``hosts``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key(), days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = self._signed(builder)
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password.encode())
        self._write(files[0], certificate.public_bytes(serialization.Encoding.PEM))
        self._write(
            files[1],
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption),
        )
        return Pair(*files, certificate.fingerprint(hashes.SHA256()).hex())

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int | None = None
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        ends_at = now + timedelta(days=self._days if days is None else days)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, ends_at) - _EARLIER)
            .not_valid_after(ends_at)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )

    def _signed(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, path: Path, data: bytes) -> None:
        write_durably(path, data)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
