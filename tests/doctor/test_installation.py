"""What is told of a service's installation: its user, who reads what, limits, clock, units."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import SYSTEMD
from neurotriage.core.settings import CONFIG_VARIABLE
from neurotriage.doctor import Options, State, installation, probes
from neurotriage.doctor.check import Check
from neurotriage.doctor.installation import look_at_installation
from tests.conftest import ROOT
from tests.doctor.looks import by_subject, settings

pytestmark = pytest.mark.unit


def _file(folder: Path, name: str, mode: int, text: str = "") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], Check]:
    """What is said of a configuration file of a mode and a content."""

    def look(mode: int, text: str) -> Check:
        monkeypatch.setenv(CONFIG_VARIABLE, str(_file(tmp_path, "config.toml", mode, text)))
        return by_subject(look_at_installation(settings()))["config file"]

    return look


def test_root_is_no_user_for_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert by_subject(look_at_installation(settings()))["user"].state is State.FAILED
    monkeypatch.setattr(os, "geteuid", lambda: 65_000)
    assert by_subject(look_at_installation(settings()))["user"].state is State.OK


@pytest.mark.parametrize(
    ("mode", "url", "state"),
    [
        (0o640, "postgresql://me:secret@db/n", State.OK),
        (0o644, "postgresql://me:secret@db/n", State.FAILED),
        (0o644, "postgresql://me@db/n", State.OK),
        (0o660, "postgresql://me@db/n", State.FAILED),
        (0o666, "postgresql://me@db/n", State.FAILED),
    ],
)
def test_nobody_else_may_change_the_configuration_or_read_a_password_in_it(
    mode: int, url: str, state: State, config: Callable[[int, str], Check]
) -> None:
    found = config(mode, f'[database]\nurl = "{url}"\n')
    assert found.state is state
    assert "secret" not in found.said + found.advice


SECRETS = {
    "key": lambda path: {
        "listener": {"tls": {"certificate": "c", "key": path, "client_certificates": "none"}}
    },
    "token": lambda path: {"peer": [{"ae_title": "CT1", "host": "ct1", "token_file": path}]},
    "destination": lambda path: {
        "destination": [{"name": "web", "type": "dicomweb", "url": "https://a/b", "token_file": path}]
    },
    "provider": lambda path: {"summary": {"provider": "groq", "key_file": path}},
    "webhook": lambda path: {"alarms": {"webhook": {"url": "https://a/b", "key_file": path}}},
    "mail": lambda path: {
        "alarms": {
            "mail": {"host": "a", "user": "b", "password_file": path, "sender": "a@b", "to": ["c@d"]},
        }
    },
    "further port": lambda path: {
        "listener": {
            "also": [{"port": 1, "tls": {"certificate": "c", "key": path, "client_certificates": "none"}}]
        }
    },
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_key_that_others_may_read_fails(kind: str, tmp_path: Path) -> None:
    path = _file(tmp_path, "secret", 0o644)
    site = settings(**SECRETS[kind](path))
    found = by_subject(look_at_installation(site))["secrets"]
    assert (found.state, str(path) in found.said) == (State.FAILED, True)
    path.chmod(0o640)
    assert by_subject(look_at_installation(site))["secrets"].state is State.OK
    path.unlink()
    assert by_subject(look_at_installation(site))["secrets"].state is State.FAILED


def test_too_few_open_files_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert by_subject(look_at_installation(settings()))["open files"].state is State.FAILED
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert by_subject(look_at_installation(settings()))["open files"].state is State.OK
    crowded = settings(listener={"max_associations": 500})
    assert by_subject(look_at_installation(crowded))["open files"].state is State.FAILED


@pytest.mark.parametrize(("told", "state"), [(0, State.OK), (5, State.WARNING), (-1, State.WARNING)])
def test_a_clock_that_nobody_synchronises_is_told(
    told: int, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "_clock_state", lambda: told)
    assert by_subject(look_at_installation(settings()))["clock"].state is state


def test_units_are_missing_then_those_of_this_version_then_edited(tmp_path: Path) -> None:
    def told(**site: object) -> Check:
        return by_subject(look_at_installation(settings(**site), tmp_path))["units"]

    assert told().state is State.WARNING
    for name in ("neurotriage.target", "neurotriage-listen.service", "neurotriage-work@.service"):
        (tmp_path / name).write_bytes((SYSTEMD / name).read_bytes())
    assert told().state is State.OK
    assert "neurotriage-stow.service" in told(stow={}).said
    with (tmp_path / "neurotriage-listen.service").open("a") as file:
        file.write("# mine\n")
    assert (told().state, "neurotriage-listen.service" in told().said) == (State.WARNING, True)


def test_the_installation_is_looked_at_where_it_is_asked_for() -> None:
    asked = {probe.part for probe in probes(settings(), Options(install=True))}
    assert asked - {probe.part for probe in probes(settings(), Options())} == {"installation"}


def test_every_check_says_what_to_do_where_something_is_wrong(tmp_path: Path) -> None:
    code = (
        "from neurotriage.core.settings import Settings\n"
        "from neurotriage.doctor.installation import look_at_installation\n"
        "for check in look_at_installation(Settings()):\n"
        "    assert check.said and (check.state == 'ok') == (not check.advice), check\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        check=True,
    )
