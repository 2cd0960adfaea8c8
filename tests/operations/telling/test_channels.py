"""Each channel reaches a real receiver, encrypted or signed, and says why it failed within a limit."""

import json
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP
from pydantic import ValidationError

from db.operations.alarm_notices import Event, OpenNotice
from neurotriage.core.settings import CommandSettings, WebhookSettings
from neurotriage.operations.telling.channel import Channel, ChannelFailed
from neurotriage.operations.telling.channels import Channels
from neurotriage.operations.telling.command import Command
from neurotriage.operations.telling.mail import Mail
from neurotriage.operations.telling.message import Message, message_of, schema, to_json, trial_message
from neurotriage.operations.telling.webhook import Webhook
from tests.conftest import until
from tests.operations.telling.receivers import KEY, mail_server, program, web_server

ROOT = Path(__file__).parents[3]
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BEGAN = OpenNotice(
    1, 0, True, Event.BEGAN, 7, "delivery_waits", "pacs", AT, 3, "it does not answer", AT, None
)
MESSAGE = message_of([BEGAN], AT)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("implicit", [False, True])
def test_a_mail_goes_to_every_address_over_tls_with_a_login(tmp_path: Path, implicit: bool) -> None:
    with mail_server(tmp_path, implicit=implicit) as server:
        encryption = "tls" if implicit else "starttls"
        mail = Mail(server.settings(encryption=encryption), 10)
        assert "logged in as triage" in mail.check()
        assert server.mails == []
        mail.send(MESSAGE)
        (taken,) = server.mails
    assert taken["To"] == "admin@example.org, night@example.org"
    assert taken["Subject"] == f"neurotriage on {MESSAGE.host}: alarms: 1 began"
    text = taken.get_content()
    assert "BEGAN: delivery_waits pacs (3), since 2026-01-02 03:04 UTC" in text
    assert "not for diagnosis" in text


def test_a_mail_server_that_nobody_vouches_for_gets_no_password(tmp_path: Path) -> None:
    with mail_server(tmp_path) as server, pytest.raises(ChannelFailed, match="CERTIFICATE_VERIFY_FAILED"):
        Mail(server.settings(ca=None), 10).send(MESSAGE)
    with (
        mail_server(tmp_path / "other", host="mail.example.org") as server,
        pytest.raises(ChannelFailed, match=r"not valid for '127\.0\.0\.1'"),
    ):
        Mail(server.settings(), 10).send(MESSAGE)


def test_a_wrong_password_is_told_and_not_quoted(tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        settings = server.settings()
        (tmp_path / "password").write_text("wrong")
        for call in (Mail(settings, 10).check, lambda: Mail(settings, 10).send(MESSAGE)):
            with pytest.raises(ChannelFailed, match=r"answers 535$"):
                call()
        assert server.mails == []


def test_no_letter_of_a_password_that_cannot_be_sent_is_quoted(tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        settings = server.settings()
        (tmp_path / "password").write_text("pass-wörd")
        with pytest.raises(ChannelFailed, match=r"user or password holds more than ASCII$"):
            Mail(settings, 10).send(MESSAGE)


@pytest.mark.parametrize("farewell", ["421 I was about to close", "500 what?"])
def test_a_mail_that_was_taken_is_sent_whatever_the_server_says_at_the_end(
    tmp_path: Path, farewell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quit_rudely(self: SMTP, _: str | None) -> None:
        await self.push(farewell)

    monkeypatch.setattr(SMTP, "smtp_QUIT", quit_rudely)
    with mail_server(tmp_path) as server:
        Mail(server.settings(), 10).send(MESSAGE)  # a failure here would send it again, many times
        assert len(server.mails) == 1


def test_an_address_that_is_refused_does_not_keep_the_mail_from_the_others(tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        server.refused.add("night@example.org")
        Mail(server.settings(), 10).send(MESSAGE)
        assert len(server.mails) == 1
        server.refused.add("admin@example.org")
        with pytest.raises(ChannelFailed, match="refuses every address"):
            Mail(server.settings(), 10).send(MESSAGE)


def test_a_webhook_is_signed_and_taken(tmp_path: Path) -> None:
    with web_server(tmp_path) as server:
        webhook = Webhook(server.settings(), 10)
        assert "can be reached" in webhook.check()
        assert server.requests == 0
        webhook.send(MESSAGE)
        (body,) = server.bodies
        assert (body["version"], body["host"], body["test"]) == (1, MESSAGE.host, False)
        assert body["alarms"][0]["subject"] == "pacs"
        (tmp_path / "key").write_bytes(b"another key of sixteen bytes")
        with pytest.raises(ChannelFailed, match=r"^http://127.0.0.1:\d+ answers 401$"):  # no token in it
            webhook.send(MESSAGE)


def test_no_proxy_is_told_what_is_for_this_host_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proxy").mkdir()
    with web_server(tmp_path) as server, web_server(tmp_path / "proxy") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        Webhook(server.settings(), 10).send(MESSAGE)
        assert (server.requests, proxy.requests) == (1, 0)


def test_what_a_webhook_that_speaks_no_http_says_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"DOE^JANE is no HTTP\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        webhook = Webhook(WebhookSettings(url=f"http://127.0.0.1:{port}/", key_file=tmp_path / "key"), 10)
        with pytest.raises(ChannelFailed, match=r"RemoteProtocolError$"):
            webhook.send(MESSAGE)
        answering.join()


@pytest.mark.parametrize("content", [None, b"short"])
def test_a_webhook_without_a_usable_key_sends_nothing(tmp_path: Path, content: bytes | None) -> None:
    with web_server(tmp_path) as server:
        settings = server.settings()
        (tmp_path / "key").unlink()
        if content is not None:
            (tmp_path / "key").write_bytes(content)
        for call in (Webhook(settings, 10).check, lambda: Webhook(settings, 10).send(MESSAGE)):
            with pytest.raises(ChannelFailed, match="key"):
                call()
        assert server.requests == 0


@pytest.mark.unit
@pytest.mark.parametrize("url", ["http://10.1.2.3/x", "ftp://host/x", "https://", "https://u:p@host/x", "x"])
def test_a_webhook_in_plain_text_or_with_a_password_in_its_address_is_no_setting(url: str) -> None:
    with pytest.raises(ValidationError, match="url"):
        WebhookSettings(url=url, key_file=Path("key"))


def test_a_command_gets_the_message_on_its_standard_input(tmp_path: Path) -> None:
    command = Command(program(arguments=(str(tmp_path / "told"),)), 20)
    assert sys.executable in command.check()
    command.send(MESSAGE)
    assert json.loads((tmp_path / "told").read_bytes()) == json.loads(to_json(MESSAGE))


def test_no_shell_reads_the_words_of_a_command(tmp_path: Path) -> None:
    Command(program(arguments=(str(tmp_path / "$(touch x);told"),)), 20).send(MESSAGE)
    assert [path.name for path in tmp_path.iterdir()] == ["$(touch x);told"]


def test_a_command_gets_no_secret_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", "postgresql://neurotriage:a-secret@db/neurotriage")
    monkeypatch.setenv("GROQ_API_KEY", "a-secret")
    code = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(repr(dict(os.environ)))"
    Command(program(code, (str(tmp_path / "told"),)), 20).send(MESSAGE)
    told = (tmp_path / "told").read_text()
    assert "PATH" in told
    assert "a-secret" not in told


def test_a_command_that_fails_or_does_not_end_is_told() -> None:
    with pytest.raises(ChannelFailed, match="ended with 3"):
        Command(program("raise SystemExit(3)"), 20).send(MESSAGE)
    started = time.monotonic()
    with pytest.raises(ChannelFailed, match=r"did not end within 0\.5 s"):
        Command(program("import time; time.sleep(60)"), 0.5).send(MESSAGE)
    assert time.monotonic() - started < 10
    absent = Command(CommandSettings(argv=("no-such-program",)), 1)
    for call in (absent.check, lambda: absent.send(MESSAGE)):
        with pytest.raises(ChannelFailed, match="no-such-program"):
            call()


def test_a_channel_that_hangs_or_is_broken_holds_up_no_other(tmp_path: Path) -> None:
    class Broken:
        name = "mail"

        def send(self, message: object) -> None:
            raise ZeroDivisionError

        def check(self) -> str:
            return ""

    broken: Channel = Broken()
    hanging = Command(program("import time; time.sleep(3)"), 60)
    with web_server(tmp_path) as server:
        channels = Channels((hanging, broken, Webhook(server.settings(), 10)), 1.0)
        for _ in range(2):
            told: dict[str, str | None] = {}
            channels.send(dict.fromkeys(channels.names, MESSAGE), told.__setitem__)
            assert told["webhook"] is None
            assert told["mail"] == "a bug of ours: ZeroDivisionError"
            assert told["command"] in ("no answer within 1 s", "still busy with what it was given before")
        assert len(server.bodies) == 2


@pytest.mark.unit
def test_what_a_slow_channel_took_late_is_not_sent_again_and_what_is_new_is() -> None:
    goes_on, sent = threading.Event(), []

    class Slow:
        name = "mail"

        def send(self, message: Message) -> None:
            goes_on.wait(60)
            sent.append(message)

        def check(self) -> str:
            return ""

    told: dict[str, str | None] = {}
    channels = Channels((Slow(),), 0.2)
    channels.send({"mail": MESSAGE}, told.__setitem__)
    assert told["mail"] == "no answer within 0.2 s"
    goes_on.set()
    until(lambda: sent == [MESSAGE] and all(not t.name.startswith("tell by") for t in threading.enumerate()))
    channels.send({"mail": MESSAGE}, told.__setitem__)
    assert (told["mail"], sent) == (None, [MESSAGE])
    channels.send({"mail": MESSAGE}, told.__setitem__)  # as a new message would be
    assert len(sent) == 2


@pytest.mark.unit
def test_a_test_message_says_that_it_is_one() -> None:
    told = json.loads(to_json(trial_message()))
    assert (told["test"], told["alarms"]) == (True, [])


@pytest.mark.unit
def test_the_documented_schema_of_the_message_is_the_one_it_has() -> None:
    assert json.loads((ROOT / "docs" / "alarms.schema.json").read_text()) == schema()
