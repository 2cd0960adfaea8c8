"""Real receivers of messages: a mail server, an HTTP server, a program."""

import hmac
import json
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from dicom_listener.admission.certificates import TestAuthority
from neurotriage.core.settings import CommandSettings, MailSettings, WebhookSettings
from neurotriage.embedded.process import free_port

KEY = b"0123456789abcdef0123456789abcdef"
USER, PASSWORD = "triage", "a secret"


@dataclass
class MailServer:
    """What an SMTP server with TLS and login took."""

    folder: Path
    ca: Path
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def settings(self, **changes: Any) -> MailSettings:
        password = self.folder / "password"
        password.write_text(f"{PASSWORD}\n")
        values = {
            "host": "127.0.0.1",
            "port": self.port,
            "ca": self.ca,
            "user": USER,
            "password_file": password,
            "sender": "triage@example.org",
            "to": ("admin@example.org", "night@example.org"),
        }
        return MailSettings(**{**values, **changes})

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


def _may(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
    assert isinstance(data, LoginPassword)
    right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@contextmanager
def mail_server(folder: Path, *, implicit: bool = False, host: str = "127.0.0.1") -> Iterator[MailServer]:
    """STARTTLS, or with ``implicit`` TLS from the first byte, with a certificate for ``host``.

    Mail is taken after a login alone.
    """
    authority = TestAuthority(folder / "authority")
    pair = authority.pair("mail", [host])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    taken = MailServer(folder, authority.certificate)
    controller = Controller(
        taken,
        hostname="127.0.0.1",
        port=free_port(),
        ssl_context=context if implicit else None,
        tls_context=None if implicit else context,
        require_starttls=not implicit,
        auth_required=True,
        auth_require_tls=not implicit,
        authenticator=_may,
    )
    controller.start()
    taken.port = controller.port
    try:
        yield taken
    finally:
        controller.stop()


@dataclass
class WebServer:
    """An HTTP server that takes what is signed; ``answers`` says what it answers first."""

    folder: Path
    port: int = 0
    answers: list[int] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)  # of those answered with 204
    requests: int = 0

    def settings(self, **changes: Any) -> WebhookSettings:
        key = self.folder / "key"
        key.write_bytes(KEY + b"\n")
        return WebhookSettings(
            **{"url": f"http://127.0.0.1:{self.port}/hook?token=t0ken", "key_file": key, **changes}
        )

    def told(self) -> list[tuple[str, str]]:
        """Event and code of all that was taken, in order."""
        return [(item["event"], item["code"]) for body in self.bodies for item in body["alarms"]]


@contextmanager
def web_server(folder: Path) -> Iterator[WebServer]:
    taken = WebServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.requests += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            timestamp = self.headers["X-Neurotriage-Timestamp"]
            expected = hmac.new(KEY, f"{timestamp}.".encode() + body, "sha256").hexdigest()
            is_fresh = abs(time.time() - int(timestamp)) < 60
            status = taken.answers.pop(0) if taken.answers else 204
            if not is_fresh or self.headers["X-Neurotriage-Signature"] != f"sha256={expected}":
                status = 401
            if status == 204:
                taken.bodies.append(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    taken.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_WRITES = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"


def program(code: str = _WRITES, arguments: tuple[str, ...] = ()) -> CommandSettings:
    """A Python program as a command; by default it writes its input into the file given."""
    return CommandSettings(argv=(sys.executable, "-c", code, *arguments))
