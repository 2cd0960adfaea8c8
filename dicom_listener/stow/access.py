"""Who may store: a bearer token (RFC 6750) for each peer, or the certificate of a peer."""

import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dicom_listener.admission.tls import PeerCertificate, is_certificate_of
from neurotriage.core.settings import Peer

_SCHEME: Final = "bearer "
_TOKEN_LIMIT_BYTES: Final = 4096
LEAST_TOKEN_LENGTH: Final = 16


class UnusableToken(Exception):
    """A token file holds no token; the message says why."""


def read_token(path: Path) -> bytes:
    """The token in a file. Raises ``UnusableToken``."""
    try:
        with path.open("rb") as file:
            token = file.read(_TOKEN_LIMIT_BYTES + 1).strip()
    except OSError as error:
        raise UnusableToken(f"cannot be read: {error.strerror}") from error
    if not LEAST_TOKEN_LENGTH <= len(token) <= _TOKEN_LIMIT_BYTES or b" " in token or not token.isascii():
        raise UnusableToken(f"holds no token: {LEAST_TOKEN_LENGTH} characters of ASCII or more")
    return token


def by_token(peers: Iterable[Peer], authorization: str) -> Peer | None:
    """The peer with the token of an Authorization header; None where there is none.

    Files are read for each request, so that a token can be changed while the service runs. Every token is
    compared, each in constant time.
    """
    if not authorization.lower().startswith(_SCHEME):
        return None
    given = authorization[len(_SCHEME) :].strip().encode("utf-8", "replace")
    found: Peer | None = None
    for peer in peers:
        if peer.token_file is None:
            continue
        try:
            token = read_token(peer.token_file)
        except UnusableToken:
            continue
        if hmac.compare_digest(token, given):
            found = peer
    return found


def by_certificate(peers: Iterable[Peer], certificate: PeerCertificate | None) -> Peer | None:
    """The peer of a certificate that our CA signed.

    One that is bound to a certificate must have shown it; of another the AE title is the common name.
    """
    if certificate is None:
        return None
    names = {value for key, value in certificate.subject if key == "CN"}
    for peer in peers:
        bound = peer.is_bound_to_a_certificate or names == {peer.ae_title.strip()}
        if bound and is_certificate_of(peer, certificate):
            return peer
    return None
