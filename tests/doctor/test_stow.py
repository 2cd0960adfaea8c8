"""What is told of STOW-RS: its port, its certificate and the tokens."""

import socket
import subprocess
from pathlib import Path

import pytest

from neurotriage.core.process.running import STOW, note_start
from neurotriage.core.settings import Settings
from neurotriage.doctor import Options, State, probes
from neurotriage.doctor.check import Check
from neurotriage.doctor.stow import look_at_stow
from neurotriage.embedded.process import free_port
from tests.doctor.looks import by_subject, settings

pytestmark = pytest.mark.unit


def _look(settings: Settings) -> dict[str, Check]:
    assert settings.stow is not None
    return by_subject(look_at_stow(settings, settings.stow))


def _peer(ae_title: str, path: Path, token: str) -> dict[str, object]:
    path.write_text(token)
    path.chmod(0o600)
    return {"ae_title": ae_title, "host": "10.1.2.3", "token_file": path}


def test_it_is_looked_at_where_it_is_configured() -> None:
    parts = {probe.part for probe in probes(settings(stow={}), Options())}
    assert "stow" in parts
    assert "stow" not in {probe.part for probe in probes(settings(), Options())}


def test_each_token_is_judged(tmp_path: Path) -> None:
    peers = [
        _peer("GOOD", tmp_path / "good", "a-token-of-the-first-peer"),
        _peer("SAME", tmp_path / "same", "a-token-of-the-first-peer"),
        _peer("SHORT", tmp_path / "short", "short"),
        _peer("OPEN", tmp_path / "open", "a-token-that-others-read"),
        {"ae_title": "GONE", "host": "10.1.2.3", "token_file": tmp_path / "gone"},
    ]
    (tmp_path / "open").chmod(0o644)
    checks = _look(settings(stow={"port": free_port()}, peer=peers))
    states = {subject.removeprefix("token of "): check.state for subject, check in checks.items()}
    assert states["GOOD"] is State.OK
    assert states["OPEN"] is State.WARNING
    assert {states["SAME"], states["SHORT"], states["GONE"]} == {State.FAILED}


def test_a_service_that_nobody_may_use_is_a_failure() -> None:
    assert _look(settings(stow={"port": free_port()}))["senders"].state is State.FAILED


def test_a_free_port_is_a_service_that_does_not_run() -> None:
    assert _look(settings(stow={"port": free_port()}))["port"].state is State.WARNING


def test_a_service_with_an_older_configuration_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stow = {"port": server.getsockname()[1]}
        configured = settings(stow=stow, storage={"root": tmp_path})
        note_start(configured, STOW, STOW)
        assert _look(configured)["port"].state is State.OK
        edited = settings(stow={**stow, "max_parts": 5}, storage={"root": tmp_path})
        assert "[stow]" in _look(edited)["port"].said


def test_a_network_without_encryption_is_told() -> None:
    host = {"host": "10.1.2.3", "port": free_port()}
    assert _look(settings(stow=host))["encryption"].state is State.FAILED
    assert _look(settings(stow={**host, "unencrypted": True}))["encryption"].state is State.WARNING


@pytest.mark.parametrize(("days", "state"), [(90, State.OK), (20, State.WARNING)])
def test_a_certificate_that_expires_soon_is_told(tmp_path: Path, days: int, state: State) -> None:
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=us",
        "-days",
        str(days),
    ]
    subprocess.run([*words, "-keyout", "key", "-out", "pem"], cwd=tmp_path, check=True, capture_output=True)
    tls = {"certificate": tmp_path / "pem", "key": tmp_path / "key"}
    checks = _look(settings(stow={"port": free_port(), "tls": tls}))
    assert checks["certificate"].state is state
    broken = {**tls, "key": tmp_path / "gone"}
    assert _look(settings(stow={"port": free_port(), "tls": broken}))["encryption"].state is State.FAILED
