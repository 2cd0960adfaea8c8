"""The doctor on how what comes in is protected."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_listener.admission.certificates import TestAuthority
from neurotriage.core.settings import Settings
from neurotriage.doctor.check import State
from neurotriage.doctor.intake import look_at_intake

pytestmark = pytest.mark.unit


def found(listener: dict[str, object], now: datetime | None = None) -> list[tuple[State, str]]:
    settings = Settings.model_validate({"listener": listener})
    return [(check.state, check.said) for check in look_at_intake(settings, now)]


def test_a_plain_port_is_told_by_who_can_reach_it() -> None:
    assert found({})[0][0] is State.OK
    assert found({"host": "10.0.0.1"})[0][0] is State.FAILED
    ((state, said),) = found({"host": "10.0.0.1", "unencrypted": ["10.0.0.0/8"]})
    assert (state, "10.0.0.0/8" in said) == (State.WARNING, True)


def test_a_certificate_is_told_thirty_days_before_its_end(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    pair = authority.pair("listener", ["localhost"], days=100)
    tls = {"certificate": pair.certificate, "key": pair.key, "ca": authority.certificate}
    listener = {"host": "10.0.0.1", "tls": tls}
    now = datetime.now(UTC)
    assert [state for state, _ in found(listener, now)] == [State.OK] * 3
    soon = found(listener, now + timedelta(days=71))
    assert [state for state, _ in soon] == [State.OK, State.WARNING, State.OK]
    assert "CN=listener" in soon[1][1]
    assert [state for state, _ in found(listener, now + timedelta(days=101))][1] is State.FAILED


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    tls = {"certificate": tmp_path / "no.pem", "key": tmp_path / "no.key", "ca": authority.certificate}
    (_, (state, said)) = found({"tls": tls})
    assert (state, "no.pem" in said) == (State.FAILED, True)
