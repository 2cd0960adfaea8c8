"""The units run our commands, as one user, with little else that they may do."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import typer

from neurotriage.cli import app
from neurotriage.core.process.role import Role
from neurotriage.core.settings import CONFIG_VARIABLE
from neurotriage.embedded.stack import ASKED_FOR, ROLES
from tests.conftest import absent
from tests.deploy.units import PROGRAM, UNITS, values

pytestmark = pytest.mark.unit

SERVICES: Final = sorted(UNITS.glob("*.service"))
# Of 10, as `systemd-analyze security` counts; network, its sockets and the threads of the models are needed.
MOST_EXPOSED: Final = 1.5


def _instances(unit: Path) -> list[str]:
    """The names under which a unit is started: a template once for each role."""
    if "@" not in unit.name:
        return [unit.stem]
    return [f"{unit.stem}{role}" for role in Role]


def _command(unit: Path, instance: str) -> tuple[str, ...]:
    (line,) = values(unit, "ExecStart")
    program, *words = shlex.split(line.replace("%i", instance.partition("@")[2]))
    assert program == PROGRAM
    return tuple(words)


COMMANDS: Final = {name: _command(unit, name) for unit in SERVICES for name in _instances(unit)}


@pytest.fixture
def systemd_analyze(tmp_path: Path) -> Path:
    """A folder with the units, each instance a file of its own, whose program is one that there is."""
    if shutil.which("systemd-analyze") is None:
        absent("systemd", "systemd-analyze is not installed (Debian: apt install systemd)")
    for unit in UNITS.iterdir():
        text = unit.read_text(encoding="utf-8").replace(PROGRAM, "/usr/bin/env")
        for name in _instances(unit) if unit.suffix == ".service" else [unit.stem]:
            (tmp_path / f"{name}{unit.suffix}").write_text(text, encoding="utf-8")
    return tmp_path


def test_there_is_a_unit_for_every_role_and_it_runs_what_serve_runs() -> None:
    assert set(COMMANDS.values()) == {*ROLES.values(), *ASKED_FOR.values()}
    assert len(COMMANDS) == len(ROLES) + len(ASKED_FOR)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_line_is_one_that_our_command_line_parses(name: str) -> None:
    words = list(COMMANDS[name])
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    context = group.make_context("neurotriage", list(words))
    _, command, rest = group.resolve_command(context, words)
    assert command is not None
    command.make_context(words[0], rest, parent=context)


def test_systemd_takes_every_unit(systemd_analyze: Path) -> None:
    files = [str(file) for file in systemd_analyze.iterdir() if file.suffix in (".service", ".target")]
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *files],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{systemd_analyze}:"},
        capture_output=True,
        text=True,
    )
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_little_is_open_to_a_service_that_is_broken_into(name: str, systemd_analyze: Path) -> None:
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", f"{systemd_analyze / name}.service"],
        capture_output=True,
        text=True,
        check=True,
    )
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", told.stdout)
    assert level is not None
    assert float(level[1]) <= MOST_EXPOSED


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_service_is_started_again_and_given_time_to_finish(unit: Path) -> None:
    assert values(unit, "Restart") == ["on-failure"]
    assert values(unit, "KillMode") == ["mixed"]  # Celery's children would drop their study at a SIGTERM
    assert values(unit, "StartLimitIntervalSec") == ["0"]
    assert values(unit, "PartOf") == values(unit, "WantedBy") == ["neurotriage.target"]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_all_services_read_one_configuration_as_one_user(unit: Path) -> None:
    assert values(unit, "User") == ["neurotriage"]
    assert values(unit, "Environment") == [f"{CONFIG_VARIABLE}=/etc/neurotriage/config.toml"]
    made = (UNITS / "neurotriage.tmpfiles.conf").read_text()
    assert re.search(r"^d /etc/neurotriage 0750 root neurotriage ", made, re.MULTILINE)
    assert re.search(r"^u neurotriage ", (UNITS / "neurotriage.sysusers.conf").read_text(), re.MULTILINE)


@pytest.mark.parametrize("kind", ["sysusers", "tmpfiles"])
def test_systemd_makes_the_user_and_the_folders(kind: str, tmp_path: Path) -> None:
    program = f"systemd-{kind}"
    if shutil.which(program) is None:
        absent("systemd", f"{program} is not installed (Debian: apt install systemd)")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\nneurotriage:x:901:901::/:/bin/sh\n")
    (tmp_path / "etc" / "group").write_text("root:x:0:\nneurotriage:x:901:\n")
    create = ["--create"] if kind == "tmpfiles" else ["--dry-run"] if _knows_dry_run(program) else []
    told = subprocess.run(
        [program, f"--root={tmp_path}", *create, str(UNITS / f"neurotriage.{kind}.conf")],
        capture_output=True,
        text=True,
    )
    if os.geteuid():
        pytest.skip("only root may give folders to another user")
    assert (told.returncode, told.stderr) == (0, "")


def _knows_dry_run(program: str) -> bool:
    told = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    return "--dry-run" in told.stdout


def test_what_a_unit_needs_of_the_journal_is_shipped() -> None:
    assert {value for unit in SERVICES for value in values(unit, "LogNamespace")} == {"neurotriage"}
    assert (UNITS / "journald@neurotriage.conf").is_file()
