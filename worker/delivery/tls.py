"""Encrypted connections: the peer proves itself by the site's CA, we by a client certificate."""

import ssl

from neurotriage.core.settings import TlsSettings
from worker.delivery.client import Misconfigured


def client_context(tls: TlsSettings) -> ssl.SSLContext:
    """A context for TLS 1.2 or newer that checks the peer's certificate and name (PS3.15 B.9, BCP 195).

    Without ``ca`` the system's authorities are trusted. Raises ``Misconfigured``.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate is not None:
            # Without a password a locked key would ask for one on the terminal.
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise Misconfigured(f"the files of [destination.tls] cannot be used: {reason}") from error
    return context


class Handshakes:
    """Remembers why a handshake failed: pynetdicom only tells that there is no connection."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.failure: str | None = None
        context.sslsocket_class = self._socket_class()

    def _socket_class(self) -> type[ssl.SSLSocket]:
        note = self._note

        class Noted(ssl.SSLSocket):
            def do_handshake(self, block: bool = False) -> None:
                try:
                    super().do_handshake(block)
                except ssl.SSLError as error:
                    note(error)
                    raise

            def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
                """In TLS 1.3 a peer refuses our certificate after the handshake."""
                try:
                    return super().recv(buflen, flags)
                except ssl.SSLError as error:
                    note(error)
                    raise

        return Noted

    def _note(self, error: ssl.SSLError) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            self.failure = error.verify_message
        else:
            self.failure = (error.reason or "TLS failed").replace("_", " ").lower()
