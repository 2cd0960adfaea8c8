"""TLS of a port (PS3.15 B.12, BCP 195): 1.2 and 1.3, and certificates of peers unless a site waives them."""

import ssl
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, cast

import structlog

from neurotriage.core.settings import ConfigurationError, Peer, ServerTls

log = structlog.get_logger()

HANDSHAKE_DEADLINE_S: Final = 5.0
# How often the files are looked at, at most.
_LOOK_INTERVAL_S: Final = 2.0

# RFC 9325 4.2: forward secrecy and authenticated encryption; the suites of TLS 1.3 are all of that kind.
_TLS_1_2_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!PSK"

# What OpenSSL calls it, in a sentence for the admin. Those of X.509 are words of its verification error.
_CAUSES: Final = {
    "UNSUPPORTED_PROTOCOL": "it offers no TLS 1.2 or 1.3",
    "VERSION_TOO_LOW": "it offers no TLS 1.2 or 1.3",
    "NO_PROTOCOLS_AVAILABLE": "it offers no TLS 1.2 or 1.3",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it accepts no TLS 1.2 or 1.3",
    "NO_SHARED_CIPHER": "it offers no cipher suite that is still held for safe",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "WRONG_VERSION_NUMBER": "it spoke no TLS: plain DICOM on a port with TLS",
    "HTTP_REQUEST": "it spoke no TLS: HTTP on a port with TLS",
    "UNKNOWN_PROTOCOL": "it spoke no TLS: plain DICOM on a port with TLS",
    "RECORD_LAYER_FAILURE": "it spoke no TLS: plain DICOM on a port with TLS",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know who signed our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not believe our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it holds our certificate for expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not believe our certificate",
}


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The certificate that a peer has proven to own: its SHA-256 in hex, and its subject as pairs."""

    sha256: str
    subject: frozenset[tuple[str, str]]


def certificate_of(connection: ssl.SSLObject) -> PeerCertificate | None:
    """The verified certificate of a peer; None where it showed none."""
    encoded = connection.getpeercert(binary_form=True)
    decoded = connection.getpeercert()
    if not encoded or not decoded:
        return None
    names = cast(tuple[tuple[tuple[str, str], ...], ...], decoded.get("subject", ()))
    pairs = (pair for name in names for pair in name)
    return PeerCertificate(
        sha256(encoded).hexdigest(), frozenset((_SHORT.get(key, key.upper()), value) for key, value in pairs)
    )


# RFC 4514 section 3, by the names that Python's ssl gives.
_SHORT: Final = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "countryName": "C",
    "domainComponent": "DC",
    "emailAddress": "EMAILADDRESS",
    "serialNumber": "SERIALNUMBER",
}


def is_certificate_of(peer: Peer, certificate: PeerCertificate | None) -> bool:
    """Whether a peer that is bound to a certificate is meant by this one; True where it is bound to none."""
    if not peer.is_bound_to_a_certificate:
        return True
    if certificate is None:
        return False
    pairs = (part.partition("=") for part in peer.certificate_subject.split(",") if part.strip())
    wanted = {(key.strip().upper(), value.strip()) for key, _, value in pairs}
    return peer.certificate_sha256 in ("", certificate.sha256) and wanted <= certificate.subject


def server_context(tls: ServerTls, table: str = "listener.tls") -> ssl.SSLContext:
    """A context from the files as they are now. Raises ``ConfigurationError`` naming ``table`` and file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_SUITES)
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(tls.certificate, tls.key, _password(tls.key_password_file))
    except (OSError, ValueError) as error:
        names = f"{tls.certificate}, {tls.key}"
        raise ConfigurationError(f"{table}: {names}: {_first_words(error)}") from error
    if tls.ca is not None:
        try:
            context.load_verify_locations(tls.ca)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{table}.ca: {tls.ca}: {_first_words(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED if tls.requires_certificates else ssl.CERT_OPTIONAL
    return context


def _password(file: Path | None) -> str:
    """Without a file, the empty password: OpenSSL would else ask on the terminal."""
    return "" if file is None else file.read_text(encoding="utf-8").rstrip("\r\n")


def _first_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a usable PEM file").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


class ReloadedContext:
    """The context of a port, made anew when one of its files has changed.

    New files that cannot be used are logged, and the former ones go on serving. Raises ``ConfigurationError``
    where the first ones cannot be used.
    """

    def __init__(self, tls: ServerTls, table: str = "listener.tls") -> None:
        self._tls, self._table = tls, table
        self._state = _state(tls)
        self._context = server_context(tls, table)
        self._look_at = time.monotonic() + _LOOK_INTERVAL_S

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        if time.monotonic() < self._look_at:
            return self._context
        self._look_at = time.monotonic() + _LOOK_INTERVAL_S
        state = _state(self._tls)
        if state == self._state:
            return self._context
        self._state = state
        try:
            self._context = server_context(self._tls, self._table)
        except ConfigurationError as error:
            log.error("certificate_not_reloaded", error=str(error))
        else:
            log.info("certificate_reloaded", certificate=str(self._tls.certificate))
        return self._context


def _state(tls: ServerTls) -> tuple[tuple[int, int, int], ...]:
    """What tells one version of the files from another."""
    files = (tls.certificate, tls.key, tls.key_password_file, tls.ca)
    return tuple(_state_of(file) for file in files if file is not None)


def _state_of(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_ino, status.st_size


def cause(error: BaseException) -> str:
    """Why a handshake failed, for the log and the row that an admin reads."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return _CAUSES.get(error.reason, error.reason.replace("_", " ").lower())
    if isinstance(error, ConnectionError | EOFError):
        return "it closed the connection during the handshake, or did not finish it in time"
    if isinstance(error, TimeoutError):
        return f"it did not finish the handshake within {HANDSHAKE_DEADLINE_S:g} s"
    return f"the handshake failed: {type(error).__name__}"
