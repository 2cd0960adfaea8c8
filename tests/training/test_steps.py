"""``python -m training``: one entry for all steps, which the documentation names as they are."""

import argparse
import json
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.training.conftest import write_manifest
from training.__main__ import STEPS, main

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    """The output of a new process, which must end with status 0."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


@pytest.mark.unit
def test_help_lists_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed and step.summary in listed for name, step in STEPS.items())


@pytest.mark.unit
def test_an_unknown_step_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["trian"])
    assert ended.value.code == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


@pytest.mark.unit
def test_every_step_has_its_module() -> None:
    assert all(find_spec(step.module) for step in STEPS.values())


@pytest.mark.unit
def test_the_list_of_steps_imports_no_step() -> None:
    code = "import sys, training.__main__; print([m for m in sys.modules if m == 'torch'])"
    assert run("-c", code) == "[]\n"


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_called_by_its_name(step: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([step, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m training {step} ")


@pytest.mark.parametrize("step", STEPS)
def test_help_reads_no_weights_and_builds_no_network(
    step: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import_module(STEPS[step].module)

    def heavy(*_: object, **__: object) -> None:
        raise AssertionError("help is not worth this")

    for place in ("torch.nn.Module.__init__", "torch.load", "pathlib.Path.open", "pathlib.Path.read_bytes"):
        monkeypatch.setattr(place, heavy)
    with pytest.raises(SystemExit) as ended:
        main([step, "--help"])
    assert ended.value.code == 0
    assert "options:" in capsys.readouterr().out


@pytest.mark.parametrize("step", STEPS)
def test_every_option_says_what_it_is_for(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsers: list[argparse.ArgumentParser] = []

    def noted(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        parsers.append(parser)
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", noted)
    with pytest.raises(SystemExit):
        import_module(STEPS[step].module).main([])
    assert [action.option_strings for action in parsers[0]._actions if not action.help] == []


@pytest.mark.parametrize("step", STEPS)
def test_documented_options_exist(step: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").replace("\\\n", "")
    lines = re.findall(rf"^    python -m training {step} ([^\n#]*)", text, re.MULTILINE)
    assert lines, f"docs/training.md shows no call of {step}"
    with pytest.raises(SystemExit):
        main([step, "--help"])
    known = set(re.findall(r"--[a-z][a-z0-9-]*", capsys.readouterr().out))
    assert set(re.findall(r"--[a-z][a-z0-9-]*", " ".join(lines))) <= known


@pytest.mark.unit
def test_documentation_names_no_other_step() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*ROOT.glob("docs/*.md"), *ROOT.glob("*.md"))]
    called = {name for text in texts for name in re.findall(r"python -m training ([a-z][a-z-]*)", text)}
    assert called <= set(STEPS)


def test_the_older_names_of_two_steps_still_work(toy: list[dict[str, str]], tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, toy)
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    what = ("--model", "light", "--manifest", str(manifest), "--json")
    run("-m", "training", "evaluate", *what, str(new))
    run("-m", "training.evaluate", *what, str(old))
    assert json.loads(new.read_text())["rows"] > 0
    assert old.read_bytes() == new.read_bytes()
    assert "--volumes" in run("-m", "training.evaluate_volumes", "--help")


@pytest.mark.parametrize("step", ["evaluate", "evaluate-ct", "fusion", "export", "study-rule"])
def test_a_step_without_its_manifest_ends_with_status_2(
    step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([step])
    assert ended.value.code == 2
    assert "--manifest" in capsys.readouterr().err
