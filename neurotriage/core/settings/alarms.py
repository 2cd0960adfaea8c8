"""Whom alarms are told to, and when."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from neurotriage.core.alarm_code import AlarmCode
from neurotriage.core.settings.intake import is_loopback
from neurotriage.core.settings.section import Section

_Address = Annotated[str, Field(pattern=r"^[^@\s<>,;]+@[^@\s<>,;]+$")]


class MailSettings(Section):
    """``[alarms.mail]``: by e-mail, always encrypted; the server's certificate is checked."""

    host: str = Field(min_length=1, description="mail server; its certificate must name it so")
    port: int = Field(587, ge=1, le=65535, description="587 for starttls, 465 for tls")
    encryption: Literal["starttls", "tls"] = Field(
        "starttls", description="tls: from the first byte; starttls: before anything is said"
    )
    ca: Path | None = Field(None, description="who signed its certificate; by default the system's CAs")
    user: str = Field("", description="logs in as; empty: no login")
    password_file: Path | None = Field(None, description="file with the password of user")
    sender: _Address = Field(description="address that it comes from")
    to: tuple[_Address, ...] = Field(min_length=1, description="addresses that get it")

    @model_validator(mode="after")
    def _user_with_password(self) -> Self:
        if bool(self.user) != (self.password_file is not None):
            raise ValueError("user and password_file belong together")
        return self


class WebhookSettings(Section):
    """``[alarms.webhook]``: an HTTP POST of JSON, signed."""

    url: str = Field(description="https, or http on this host")
    key_file: Path = Field(description="file with the key of the signature, at least 16 bytes")
    ca: Path | None = Field(None, description="who signed its certificate; by default the system's CAs")

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        try:
            url = urlsplit(self.url)
            host, _ = url.hostname or "", url.port
        except ValueError:
            raise ValueError("url: not of the form https://host/path") from None
        if not host or url.scheme not in ("https", "http"):
            raise ValueError("url: not of the form https://host/path")
        if url.scheme == "http" and not is_loopback(host):
            raise ValueError("url: http is for this host alone; use https")
        if url.username is not None or url.password is not None:
            raise ValueError("url: holds a password, which would be shown; the signature tells who sends")
        return self


class CommandSettings(Section):
    """``[alarms.command]``: a program of the site gets the JSON on its standard input."""

    argv: tuple[str, ...] = Field(min_length=1, description="program and arguments; no shell reads them")


class AlarmsSettings(Section):
    """``[alarms]``: alarms are watched and told where the table is there."""

    every_s: float = Field(30.0, gt=0, le=3600, description="how often it is looked")
    after_s: float = Field(
        60.0, ge=0, description="a cause is told once it has stood for so long, its end once gone for so long"
    )
    again_h: float = Field(0.0, ge=0, description="urgent ones are told again after this; 0: never")
    urgent: tuple[AlarmCode, ...] = Field(
        (AlarmCode.UNKNOWN, AlarmCode.ROLE_ABSENT, AlarmCode.DISK_SHORT),
        description="codes that are told again until they end or are acknowledged",
    )
    limit_s: float = Field(20.0, gt=0, le=300, description="a channel that takes longer has failed")
    retry_s: float = Field(30.0, gt=0, description="delay before the second try; doubles with each")
    retry_max_s: float = Field(3600.0, gt=0, description="longest delay between two tries")
    max_tries: int = Field(24, ge=1, description="then the channel is not tried any more for this cause")
    mail: MailSettings | None = None
    webhook: WebhookSettings | None = None
    command: CommandSettings | None = None
