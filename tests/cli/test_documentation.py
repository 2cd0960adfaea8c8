"""What the documents say of commands and settings is what there is."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE, Settings, load_settings
from neurotriage.core.values import ResultKind

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


def _commands(
    group: typer.core.TyperGroup, name: str = "neurotriage"
) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    for word, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from _commands(command, f"{name} {word}")
        else:
            assert isinstance(command, typer.core.TyperCommand)
            yield f"{name} {word}", command


def _root() -> typer.core.TyperGroup:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    return command


COMMANDS = dict(_commands(_root()))


def _documented() -> dict[str, str]:
    """The lines of the table in ``docs/command-line.md``, by command."""
    lines = (ROOT / "docs" / "command-line.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `neurotriage")]
    return {name: row for row in rows for name in COMMANDS if re.search(rf"`{name}[ `]", row)}


def test_every_command_is_documented_and_no_other() -> None:
    lines = (ROOT / "docs" / "command-line.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `neurotriage")]
    assert set(_documented()) == set(COMMANDS)
    assert len(rows) == len(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented_and_no_other(name: str) -> None:
    usage = _documented()[name].split("|")[1]
    options = {
        option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("--")
    } - {"--help"}
    arguments = {p.name.upper() for p in COMMANDS[name].params if p.param_type_name == "argument" and p.name}
    row = _documented()[name]
    assert set(re.findall(r"--[a-z-]+", row)) == options
    values = {  # of options
        *("CODE", "CSV", "DIR", "FILE", "N", "NAME", "NUMBER", "ROLE"),
        *("SECONDS", "SUBJECT", "TEXT", "TIME", "WHEN"),
    }
    assert set(re.findall(r"\b[A-Z]{3,}\b", usage)) - values == arguments


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example_that_is_valid(name: str) -> None:
    command = COMMANDS[name]
    example = re.search(r"Example: (neurotriage .+)", command.help or "")
    assert example is not None
    words = shlex.split(example[1])[len(name.split()) :]
    assert example[1].startswith(name)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert all(getattr(parameter, "help", None) for parameter in command.params if parameter.name != "help")


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(section, field) of every setting."""
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if inner:
            yield from _keys(inner[0], f"{prefix}.{name}".lstrip("."))
        else:
            yield prefix, name


@pytest.mark.parametrize(("section", "field"), list(_keys(Settings)))
def test_every_setting_is_documented(section: str, field: str) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    block = text.split("```toml")[1].split("```")[0]
    bodies = re.findall(r"^\[+([a-z_.]+)\]+[^\n]*\n(.*?)(?=^\[|\Z)", block, re.MULTILINE | re.DOTALL)
    body = "".join(body for name, body in bodies if name == section)  # of several destinations
    assert re.search(rf"^{field} = .*$", body, re.MULTILINE)


@pytest.mark.parametrize("kind", ResultKind)
def test_every_kind_of_result_is_in_the_data_dictionary(kind: ResultKind) -> None:
    rows = (ROOT / "docs" / "data-dictionary.md").read_text().splitlines()
    (results,) = (row for row in rows if row.startswith("| `results` |"))
    assert f"`{kind}`" in results


def test_the_documented_configuration_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    path = tmp_path / "config.toml"
    path.write_text(text.split("```toml")[1].split("```")[0])
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    settings = load_settings()
    assert settings.destination[0].name == "pacs"
    assert settings.peer[0].host == "10.1.2.0/24"
    for section in ("worker", "delivery", "assembly"):  # the values shown there are the defaults
        shown, default = getattr(settings, section), getattr(Settings(), section)
        kept = [name for name in ("weights", "required") if hasattr(default, name)]  # an example instead
        assert shown.model_copy(update={name: getattr(default, name) for name in kept}) == default
