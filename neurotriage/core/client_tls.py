"""TLS as a client: the peer's certificate is checked against the site's CA, ours is a client certificate."""

import ssl

from neurotriage.core.errors import SetupError
from neurotriage.core.settings.section import TlsSettings


class UnusableTlsFiles(SetupError):
    """A file of a TLS table cannot be used."""


def client_context(tls: TlsSettings, table: str = "destination.tls") -> ssl.SSLContext:
    """A context for TLS 1.2 or newer that checks the peer's certificate and host name (PS3.15 B.9, BCP 195).

    Without ``ca`` the system's certificate authorities are trusted. Raises ``UnusableTlsFiles``,
    which names the ``table`` of the configuration.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate is not None:
            # An encrypted key would otherwise make OpenSSL ask for a password on the terminal.
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UnusableTlsFiles(f"the files of [{table}] cannot be used: {reason}") from error
    return context
