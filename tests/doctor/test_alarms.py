"""The doctor tries each channel of alarms and sends nothing."""

from pathlib import Path

from neurotriage.core.settings import AlarmsSettings, CommandSettings, Settings
from neurotriage.doctor.alarms import look_at_alarms
from neurotriage.doctor.check import Check, State
from tests.operations.telling.receivers import mail_server, program, web_server


def _checks(alarms: AlarmsSettings) -> dict[str, Check]:
    return {check.subject: check for check in look_at_alarms(Settings(alarms=alarms), alarms)}


def test_each_channel_that_works_is_ok_and_nothing_is_sent(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with mail_server(tmp_path) as mail, web_server(tmp_path) as web:
        alarms = AlarmsSettings(
            mail=mail.settings(), webhook=web.settings(), command=program(arguments=(str(told),))
        )
        assert {name: check.state for name, check in _checks(alarms).items()} == dict.fromkeys(
            ("mail", "webhook", "command"), State.OK
        )
        assert (mail.mails, web.requests, told.exists()) == ([], 0, False)


def test_each_channel_that_does_not_says_why(tmp_path: Path) -> None:
    with mail_server(tmp_path) as mail, web_server(tmp_path) as web:
        alarms = AlarmsSettings(
            mail=mail.settings(ca=None),
            webhook=web.settings(),
            command=CommandSettings(argv=(str(tmp_path / "absent"),)),
        )
        (tmp_path / "key").unlink()
        checks = _checks(alarms)
    assert {check.state for check in checks.values()} == {State.FAILED}
    assert "CERTIFICATE_VERIFY_FAILED" in checks["mail"].said
    assert "key" in checks["webhook"].said
    assert "no program" in checks["command"].said


def test_alarms_that_nobody_is_told_are_a_warning() -> None:
    assert _checks(AlarmsSettings())["channels"].state is State.WARNING
