"""The command line starts fast, and tells a misconfiguration in a line."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neurotriage import __version__
from neurotriage.cli import app, main
from neurotriage.core.errors import SetupError
from neurotriage.core.settings import CONFIG_VARIABLE
from worker.vision.engines import EngineUnavailable
from worker.vision.registry import BadWeights

pytestmark = pytest.mark.unit

# A person who asks for help waits for it; half a second of computing is still an answer at once.
LONGEST_HELP_S = 0.5
HEAVY = {
    "torch",
    "celery",
    "sqlalchemy",
    "highdicom",
    "pydicom",
    "pynetdicom",
    "numpy",
    "alembic",
    "structlog",
}


def _program(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NEUROTRIAGE")}
    return subprocess.run(
        [sys.executable, "-m", "neurotriage", *words],
        env={**environment, CONFIG_VARIABLE: os.devnull, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_comes_at_once() -> None:
    answer = _program("--help")  # once to warm the file cache and write the byte code
    assert answer.returncode == 0
    assert "not for diagnosis" in answer.stdout
    libraries = [sys.executable, "-c", "import typer, pydantic_settings"]
    took, plain = [], []
    for _ in range(5):  # other work on the same core makes each of them dearer, and the cheapest least
        took.append(_computed_s([sys.executable, "-m", "neurotriage", "--help"]))
        plain.append(_computed_s(libraries))
    # On a slow or busy machine the two libraries alone take as long.
    assert min(took) < max(LONGEST_HELP_S, 1.6 * min(plain))


def _computed_s(command: list[str]) -> float:
    """Processor time of a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


@pytest.mark.parametrize("words", ["", "settings", "run"])
def test_asking_for_help_imports_no_heavy_library(words: str) -> None:
    script = (
        "import sys, typer.testing\n"
        "from neurotriage.cli import app\n"
        f"assert typer.testing.CliRunner().invoke(app, {[*words.split(), '--help']}).exit_code == 0\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [[], ["settings"], ["weights"]])
def test_no_command_is_described_in_a_cut_off_sentence(words: list[str]) -> None:
    told = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"}).output
    assert "Commands:" in told
    assert "..." not in told.split("Commands:")[1]


def test_the_version_is_printed() -> None:
    answer = CliRunner().invoke(app, ["--version"])
    assert answer.output == f"neurotriage {__version__}\n"


@pytest.mark.parametrize("words", [["settings", "show"], ["listen"], ["work", "--role", "delivery"]])
def test_a_misspelt_setting_ends_with_2_and_is_named_in_one_line(words: list[str]) -> None:
    answer = _program(*words, NEUROTRIAGE__LISTENER__PROT="1")
    assert answer.returncode == 2
    assert answer.stderr == "configuration: listener.prot: there is no such setting\n"


@pytest.mark.parametrize("kind", [BadWeights, EngineUnavailable, SetupError])
def test_what_an_admin_must_mend_is_told_in_a_line_wherever_it_comes_from(
    kind: type[SetupError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raises() -> None:
        raise kind("no model registry here; restore it")

    monkeypatch.setattr("neurotriage.cli.app", raises)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "no model registry here; restore it\n"


@pytest.mark.parametrize("words", [["listen"], ["serve"]])
def test_no_listener_starts_in_plain_text_on_a_network_unless_somebody_says_so(
    words: list[str], tmp_path: Path
) -> None:
    answer = _program(
        *words,
        NEUROTRIAGE__LISTENER__HOST="0.0.0.0",  # noqa: S104 - nothing listens
        NEUROTRIAGE__STORAGE__ROOT=str(tmp_path / "storage"),
    )
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("configuration: listener: 0.0.0.0:11112 can be reached from the network")
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "storage").exists()


def test_settings_of_an_unprotected_port_are_shown_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__LISTENER__HOST", "10.0.0.1")
    answer = CliRunner().invoke(app, ["settings", "show"])
    assert json.loads(answer.stdout)["listener"]["host"] == "10.0.0.1"
    assert answer.stderr.startswith("note: listener: 10.0.0.1:11112 can be reached")


def test_an_unknown_command_ends_with_2() -> None:
    assert CliRunner().invoke(app, ["analyze"]).exit_code == 2


def test_settings_are_shown_as_json_without_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    secrets = ("hunter2", "p:a@ss/w?rd", "only-password")
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", f"postgresql+psycopg2://me:{secrets[0]}@db:5432/n")
    monkeypatch.setenv("NEUROTRIAGE__BROKER__URL", f"redis://:{secrets[2]}@valkey:6379/0")
    answer = CliRunner().invoke(app, ["settings", "show"])
    assert answer.exit_code == 0
    shown = json.loads(answer.output)
    assert shown["database"]["url"] == "postgresql+psycopg2://me:***@db:5432/n"
    assert shown["broker"]["url"] == "redis://:***@valkey:6379/0"
    assert not [secret for secret in secrets if secret in answer.output]


@pytest.mark.parametrize("password", ["a@b", "a:b", "a/b", "a@b/c:d", "p?q#r"])
def test_a_password_with_any_sign_in_it_is_hidden(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__BROKER__URL", f"redis://user:{password}@valkey:6379/0")
    shown = json.loads(CliRunner().invoke(app, ["settings", "show"]).output)["broker"]["url"]
    assert shown == "redis://user:***@valkey:6379/0"


def test_a_password_in_the_query_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv(
        "NEUROTRIAGE__DATABASE__URL", "postgresql://h/n?user=u&password=hunter2&sslmode=require"
    )
    shown = json.loads(CliRunner().invoke(app, ["settings", "show"]).output)["database"]["url"]
    assert shown == "postgresql://h/n?user=u&password=***&sslmode=require"


def test_weights_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(tmp_path))
    for words in (["weights", "verify"], ["run", str(tmp_path), "--out", str(tmp_path / "out")]):
        answer = CliRunner().invoke(app, words)
        assert answer.exit_code == 1
        assert answer.stderr.startswith("weights: ")
        assert answer.stderr.count("\n") == 1
