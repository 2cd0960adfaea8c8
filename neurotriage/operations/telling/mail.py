"""Alarms by e-mail (RFC 5321), over TLS with the server's certificate checked (RFC 3207, RFC 8314)."""

import smtplib
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

import structlog

from neurotriage.core.client_tls import UnusableTlsFiles, client_context
from neurotriage.core.settings import MailSettings, TlsSettings
from neurotriage.operations.telling.channel import ChannelFailed, read_secret
from neurotriage.operations.telling.message import Message, subject_of, text_of

log = structlog.get_logger()


class Mail:
    """``[alarms.mail]``; ``limit_s`` holds for each answer of the server."""

    name = "mail"

    def __init__(self, settings: MailSettings, limit_s: float) -> None:
        self._settings, self._limit_s = settings, limit_s

    def send(self, message: Message) -> None:
        """One e-mail to all addresses. Where one is refused and another is not, it was taken, once."""
        with self._session() as session:
            refused = session.send_message(self._mail(message))
        if refused:
            log.warning("mail_address_refused", addresses=sorted(refused))

    def check(self) -> str:
        with self._session() as session:
            session.noop()
        who = f"logged in as {self._settings.user}" if self._settings.user else "no login is configured"
        return f"{self._settings.host}:{self._settings.port} answers, encrypted; {who}"

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        """Connected, encrypted and logged in. Every error becomes ``ChannelFailed``."""
        settings = self._settings
        password = None
        if settings.password_file is not None:
            try:
                password = read_secret(settings.password_file).decode()
            except UnicodeDecodeError:
                raise ChannelFailed(f"{settings.password_file}: no text in UTF-8") from None
        if not f"{settings.user}{password or ''}".isascii():
            # smtplib cannot send it, and its error would quote it.
            raise ChannelFailed(f"{_place(settings)}: user or password holds more than ASCII")
        try:
            with closing(self._connected()) as session:
                if password is not None:
                    session.login(settings.user, password)
                yield session
                with suppress(smtplib.SMTPException, OSError):
                    session.quit()  # whatever it answers now, it took what was sent
        except smtplib.SMTPResponseException as error:
            # Its own words may quote what we said; the code is told by RFC 5321, 4.2.3.
            raise ChannelFailed(f"{_place(settings)} answers {error.smtp_code}") from error
        except smtplib.SMTPRecipientsRefused as error:
            codes = ", ".join(f"{to}: {answer[0]}" for to, answer in sorted(error.recipients.items()))
            raise ChannelFailed(f"{_place(settings)} refuses every address ({codes})") from error
        except (smtplib.SMTPException, OSError, UnusableTlsFiles, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ChannelFailed(f"{_place(settings)}: {reason}") from error

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        context = client_context(TlsSettings(ca=settings.ca), "alarms.mail")
        name = socket.gethostname()  # smtplib would ask the DNS for a longer one, without a limit
        if settings.encryption == "tls":
            return smtplib.SMTP_SSL(
                settings.host, settings.port, name, timeout=self._limit_s, context=context
            )
        session = smtplib.SMTP(settings.host, settings.port, name, timeout=self._limit_s)
        try:
            session.starttls(context=context)  # raises where the server does not offer it
        except BaseException:
            session.close()
            raise
        return session

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = self._settings.sender
        mail["To"] = ", ".join(self._settings.to)
        mail["Subject"] = subject_of(message)
        mail["Date"] = format_datetime(message.at)
        mail["Message-ID"] = make_msgid(domain=self._settings.sender.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice answers it
        mail.set_content(text_of(message))
        return mail


def _place(settings: MailSettings) -> str:
    return f"{settings.host}:{settings.port}"
