"""TLS to a destination: its certificate is checked against the site's CA, ours is a client certificate."""

import ssl

from neurotriage.core.settings import TlsSettings
from worker.delivery.client import Misconfigured


def client_context(tls: TlsSettings) -> ssl.SSLContext:
    """A context for TLS 1.2 or newer that checks the peer's certificate and host name (PS3.15 B.9, BCP 195).

    Without ``ca`` the system's certificate authorities are trusted. Raises ``Misconfigured`` where a file
    cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate is not None:
            # An encrypted key would otherwise make OpenSSL ask for a password on the terminal.
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise Misconfigured(f"the files of [destination.tls] cannot be used: {reason}") from error
    return context


class HandshakeRecorder:
    """Records why a handshake failed (``failure``); pynetdicom only says that there is no connection."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.failure: str | None = None
        context.sslsocket_class = self._socket_class()

    def _socket_class(self) -> type[ssl.SSLSocket]:
        record = self._record

        class RecordingSocket(ssl.SSLSocket):
            def do_handshake(self, block: bool = False) -> None:
                try:
                    super().do_handshake(block)
                except ssl.SSLError as error:
                    record(error)
                    raise

            def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
                """In TLS 1.3 a peer rejects our certificate only after our side of the handshake."""
                try:
                    return super().recv(buflen, flags)
                except ssl.SSLError as error:
                    record(error)
                    raise

        return RecordingSocket

    def _record(self, error: ssl.SSLError) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            self.failure = error.verify_message
        else:
            self.failure = (error.reason or "TLS failed").replace("_", " ").lower()
