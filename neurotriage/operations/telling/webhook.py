"""Alarms by HTTP: a POST of JSON, signed with a key that only both sides know."""

import hmac
import socket
import ssl
import time
from contextlib import closing
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

import httpx

from neurotriage.core.client_tls import UnusableTlsFiles, client_context
from neurotriage.core.settings import TlsSettings, WebhookSettings
from neurotriage.operations.telling.channel import ChannelFailed, read_secret
from neurotriage.operations.telling.message import Message, to_json

TIMESTAMP_HEADER: Final = "X-Neurotriage-Timestamp"
SIGNATURE_HEADER: Final = "X-Neurotriage-Signature"
_KEY_BYTES: Final = 16


def signature(key: bytes, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the HMAC-SHA256 (RFC 2104) over timestamp, a full stop and body, in hex."""
    return "sha256=" + hmac.new(key, timestamp.encode() + b"." + body, sha256).hexdigest()


class Webhook:
    """``[alarms.webhook]``; any answer of 2xx means that it was taken. Redirects are not followed."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings, limit_s: float) -> None:
        self._settings, self._limit_s = settings, limit_s

    def send(self, message: Message) -> None:
        """One POST."""
        key = read_secret(self._settings.key_file, at_least=_KEY_BYTES)
        body, timestamp = to_json(message), str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(key, timestamp, body),
        }
        try:
            with (
                # No proxy of the environment gets what is in plain text for this host alone.
                httpx.Client(
                    verify=self._tls(), timeout=self._limit_s, trust_env=self._is_encrypted
                ) as client,
                client.stream("POST", self._settings.url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code  # whatever else it says is not read
        except (httpx.ProtocolError, httpx.ProxyError) as error:  # their words quote the other side's
            raise ChannelFailed(f"{self._place}: {type(error).__name__}") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnusableTlsFiles) as error:
            raise ChannelFailed(f"{self._place}: {str(error) or type(error).__name__}") from error
        if not 200 <= status < 300:
            raise ChannelFailed(f"{self._place} answers {status}")

    def check(self) -> str:
        """Read the key and connect, with TLS where the address is of https; nothing is asked."""
        read_secret(self._settings.key_file, at_least=_KEY_BYTES)
        url = urlsplit(self._settings.url)
        address = url.hostname or "", url.port or (443 if self._is_encrypted else 80)
        try:
            connection = socket.create_connection(address, timeout=self._limit_s)
            with closing(connection):
                if self._is_encrypted:
                    context = self._tls()
                    context.wrap_socket(connection, server_hostname=address[0]).close()
        except (OSError, UnusableTlsFiles) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ChannelFailed(f"{self._place}: {reason}") from error
        return f"{self._place} can be reached; the key can be read"

    @property
    def _is_encrypted(self) -> bool:
        return urlsplit(self._settings.url).scheme == "https"

    def _tls(self) -> ssl.SSLContext:
        return client_context(TlsSettings(ca=self._settings.ca), "alarms.webhook")

    @property
    def _place(self) -> str:
        """Without path and query, which may hold a token."""
        url = urlsplit(self._settings.url)
        return f"{url.scheme}://{url.netloc}"
