"""``docker-compose.yml`` and ``Dockerfile`` say what the product understands; seen without any engine."""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

from neurotriage.cli import app
from neurotriage.core.settings import (
    CONFIG_VARIABLE,
    ENVIRONMENT_PREFIX,
    MetricsSettings,
    Settings,
    StowSettings,
    load_settings,
)
from neurotriage.embedded.stack import ASKED_FOR, ROLES
from worker.provider import KEY_VARIABLE

pytestmark = pytest.mark.unit

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
OURS: Final = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()
# Where each foreign image keeps its data, and what it brings for a health check.
DATA_FOLDERS: Final = {
    "postgres:18": "/var/lib/postgresql",  # since 18 the folder above the one of the version
    "valkey/valkey:9": "/data",
    "orthancteam/orthanc": "/var/lib/orthanc/db",
}
PROGRAMS: Final = {
    "postgres:18": {"pg_isready", "psql"},
    "valkey/valkey:9": {"valkey-cli"},
    "neurotriage:": {"python"},
}


def _told(table: dict[str, Any], image: str) -> Any:
    return next(told for known, told in table.items() if image.startswith(known))


def _substituted(value: str) -> str:
    """``${NAME:?message}`` and ``${NAME:-default}`` as compose would fill them in."""
    needed = re.sub(r"\$\{[A-Z_]+:\?[^}]*\}", "secret", str(value))
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", needed)


def _mounts(service: dict[str, Any]) -> dict[str, str]:
    return dict(mount.split(":", 1) for mount in service.get("volumes", ()))


def test_all_parts_of_the_product_and_a_pacs_are_there() -> None:
    assert set(SERVICES) == {
        *(
            "postgres",
            "valkey",
            "migrate",
            "listener",
            "stow",
            "metrics",
            "watch",
            "analysis",
            "delivery",
            "summary",
            "orthanc",
        ),
    }
    assert set(OURS) == {"migrate", "listener", "stow", "metrics", "watch", "analysis", "delivery", "summary"}
    assert 'ENTRYPOINT ["neurotriage"]' in DOCKERFILE


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_our_command_line_parses(name: str) -> None:
    words = list(OURS[name]["command"])
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    context = group.make_context("neurotriage", list(words))
    _, command, rest = group.resolve_command(context, words)
    assert command is not None
    command.make_context(words[0], rest, parent=context)


def test_the_services_run_what_serve_runs_and_what_the_tests_break() -> None:
    ran = {name: tuple(service["command"]) for name, service in OURS.items()}
    assert ran == {
        "migrate": ("migrate",),
        "listener": ROLES["listen"],
        "analysis": ROLES["analysis"],
        "delivery": ROLES["delivery"],
        "summary": ASKED_FOR["summary"],
        "stow": ASKED_FOR["stow"],
        "metrics": ASKED_FOR["metrics"],
        "watch": ASKED_FOR["watch"],
    }
    assert {name for name in OURS if "profiles" in OURS[name]} == set(ASKED_FOR)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The configuration that our services see; a variable that is no setting would be refused."""
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    for name, value in SERVICES["listener"]["environment"].items():
        assert name.startswith(ENVIRONMENT_PREFIX) or name in ("OMP_WAIT_POLICY", KEY_VARIABLE)
        monkeypatch.setenv(name, _substituted(value))
    return load_settings()


def test_every_service_of_ours_has_the_same_settings(settings: Settings) -> None:
    assert settings.listener.host == "0.0.0.0"  # noqa: S104 - inside its container
    assert all(service["environment"] == SERVICES["listener"]["environment"] for service in OURS.values())


def test_a_language_model_is_asked_by_two_variables_of_the_host_and_by_default_nobody(
    settings: Settings,
) -> None:
    assert not settings.summary.asks
    environment = SERVICES["listener"]["environment"]
    for name in (KEY_VARIABLE, f"{ENVIRONMENT_PREFIX}SUMMARY__PROVIDER"):
        assert environment[name].startswith(f"${{{name}:-")


def test_the_services_find_each_other(settings: Settings) -> None:
    assert re.search(r"@postgres:5432/(\w+)$", settings.database.url)
    assert re.search(r"@valkey:6379/0$", settings.broker.url)
    (pacs,), (peer,) = settings.destination, settings.peer
    orthanc = SERVICES["orthanc"]["environment"]
    assert (pacs.host, pacs.ae_title, pacs.port) == ("orthanc", orthanc["ORTHANC__DICOM_AET"], 4242)
    assert (peer.host, peer.ae_title) == ("orthanc", orthanc["ORTHANC__DICOM_AET"])
    listener = settings.listener
    modality = json.loads(orthanc["ORTHANC__DICOM_MODALITIES"])["neurotriage"]
    assert modality == [listener.ae_title, "listener", listener.port]
    assert SERVICES["listener"]["ports"] == [f"{listener.port}:{listener.port}"]
    assert {needed for service in SERVICES.values() for needed in service.get("depends_on", ())} <= set(
        SERVICES
    )


def test_every_volume_is_mounted_where_its_service_keeps_data(settings: Settings) -> None:
    mounted = {name: _mounts(service) for name, service in SERVICES.items()}
    assert {volume for mounts in mounted.values() for volume in mounts} == set(COMPOSE["volumes"])
    root = str(settings.storage.root)
    assert all(mounted[name] == {"storage": root} for name in OURS)
    assert f"install -d -o neurotriage {root}" in DOCKERFILE  # a new volume takes the owner of the folder
    for name in set(SERVICES) - set(OURS):
        assert set(mounted[name].values()) == {_told(DATA_FOLDERS, SERVICES[name]["image"])}


def test_health_is_asked_with_programs_that_the_image_has() -> None:
    asked = {
        name: service["healthcheck"]["test"] for name, service in SERVICES.items() if "healthcheck" in service
    }
    for name, (how, line) in asked.items():
        assert how == "CMD-SHELL"
        assert line.split()[0] in _told(PROGRAMS, SERVICES[name]["image"])
    awaited = {
        needed
        for service in SERVICES.values()
        for needed, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert awaited == {name for name in asked if name not in OURS}
    assert set(asked) - awaited == {name for name in OURS if "ports" in OURS[name]}


def test_health_of_a_door_is_asked_at_the_port_that_it_opens(settings: Settings) -> None:
    ports = {
        "listener": settings.listener.port,
        "stow": StowSettings().port,
        "metrics": MetricsSettings().port,
    }
    for name, port in ports.items():
        assert f"'127.0.0.1', {port})" in OURS[name]["healthcheck"]["test"][1]
        assert OURS[name]["ports"][0].endswith(f":{port}")


def test_no_service_of_ours_may_become_another_user_or_write_beside_its_data(settings: Settings) -> None:
    assert re.search(r"^USER neurotriage$", DOCKERFILE, re.MULTILINE)
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"] == ["/tmp"]
        assert not service.get("privileged")


def test_studies_by_stow_are_taken_where_a_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SERVICES["stow"]["environment"]["NEUROTRIAGE__STOW"]
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__STOW", _substituted(told))
    assert load_settings().stow is None
    monkeypatch.setenv("NEUROTRIAGE__STOW", '{"host": "0.0.0.0", "unencrypted": true}')
    stow = load_settings().stow
    assert stow is not None
    assert stow.port == StowSettings().port


def test_the_image_is_built_from_files_and_versions_that_there_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (torch,) = re.findall(r"torch==[\d.]+", DOCKERFILE)
    assert torch in project["dependencies"]
    ignored = (ROOT / ".dockerignore").read_text().split()
    for path in re.findall(r"requirements/\S+\.lock", DOCKERFILE):
        assert (ROOT / path).is_file()
    assert not {"weights", "migrations", "requirements"} & set(ignored)


def test_the_image_can_be_built_with_the_reader_of_text() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "opinion" in extras
    assert re.search(r"^ARG EXTRAS=$", DOCKERFILE, re.MULTILINE)
    assert 'pip install --no-build-isolation ".[$EXTRAS]"' in DOCKERFILE
    assert {service["build"]["args"]["EXTRAS"] for service in OURS.values()} == {"${EXTRAS:-}"}


def test_threads_that_wait_sleep_in_every_container() -> None:
    assert "ENV OMP_WAIT_POLICY=PASSIVE" in DOCKERFILE
    assert {service["environment"]["OMP_WAIT_POLICY"] for service in OURS.values()} == {"PASSIVE"}
