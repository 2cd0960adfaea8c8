"""TLS to a destination: its certificate is checked against the site's CA, ours is a client certificate."""

import ssl

from neurotriage.core import client_tls
from neurotriage.core.settings import TlsSettings
from worker.delivery.client import Misconfigured


def client_context(tls: TlsSettings) -> ssl.SSLContext:
    """As ``neurotriage.core.client_tls``. Raises ``Misconfigured`` where a file cannot be used."""
    try:
        return client_tls.client_context(tls)
    except client_tls.UnusableTlsFiles as error:
        raise Misconfigured(str(error)) from error


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
