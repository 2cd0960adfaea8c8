"""The manifests are of Kubernetes, and run what our command line and configuration know."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import typer
import yaml

import neurotriage
from neurotriage.cli import app
from neurotriage.core.settings import (
    CONFIG_VARIABLE,
    MetricsSettings,
    Settings,
    StowSettings,
    load_settings,
    require_protected_ports,
)
from neurotriage.embedded.stack import ASKED_FOR, ROLES
from tests.conftest import ROOT, absent

pytestmark = pytest.mark.unit

FOLDER: Final = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
VERSION: Final = "1.31"  # and so of every newer one: all of this is in stable groups
MANIFESTS: Final[list[dict[str, Any]]] = [
    manifest
    for name in KUSTOMIZATION["resources"]
    for manifest in yaml.safe_load_all((FOLDER / name).read_text())
]
NAMES: Final = [f"{manifest['kind']} {manifest['metadata']['name']}" for manifest in MANIFESTS]
DEPLOYMENTS: Final = {m["metadata"]["name"]: m for m in MANIFESTS if m["kind"] == "Deployment"}
PODS: Final = {name: manifest["spec"]["template"]["spec"] for name, manifest in DEPLOYMENTS.items()}
SERVICES: Final = {m["metadata"]["name"]: m["spec"] for m in MANIFESTS if m["kind"] == "Service"}


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


CONTAINERS: Final = [(name, container) for name, pod in PODS.items() for container in _containers(pod)]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=NAMES)
def test_every_manifest_is_one_of_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(
        manifest, VERSION, strict=True
    )  # raises; strict refuses what it does not know


def test_kustomize_builds_the_base() -> None:
    if shutil.which("kubectl") is None:
        absent("kubectl", "kubectl is not installed")
    built = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=True)
    manifests = list(yaml.safe_load_all(built.stdout))
    assert len(manifests) == len(MANIFESTS) + 1  # the ConfigMap
    assert f"image: neurotriage:{neurotriage.__version__}" in built.stdout
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_no_manifest_is_left_out_of_the_base() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(KUSTOMIZATION["resources"])
    assert KUSTOMIZATION["images"] == [{"name": "neurotriage", "newTag": neurotriage.__version__}]


def test_there_is_a_deployment_for_every_role_and_it_runs_what_serve_runs() -> None:
    ran = {tuple(container["args"]) for _, container in CONTAINERS}
    assert ran == {*ROLES.values(), *ASKED_FOR.values(), ("migrate",)}
    assert len(DEPLOYMENTS) == len(ROLES) + len(ASKED_FOR)
    idle = {
        pod["containers"][0]["args"][-1] for n, pod in PODS.items() if not DEPLOYMENTS[n]["spec"]["replicas"]
    }
    assert idle == set(ASKED_FOR)


@pytest.mark.parametrize(("name", "container"), CONTAINERS)
def test_every_command_is_one_that_our_command_line_parses(name: str, container: dict[str, Any]) -> None:
    words = list(container["args"])
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    context = group.make_context("neurotriage", list(words))
    _, command, rest = group.resolve_command(context, words)
    assert command is not None
    command.make_context(words[0], rest, parent=context)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv(CONFIG_VARIABLE, str(FOLDER / "config.toml"))
    return load_settings()


def test_the_configuration_is_one_that_the_listener_starts_with(settings: Settings) -> None:
    require_protected_ports(settings)
    mounts = {
        mount["name"]: mount["mountPath"]
        for mount in PODS["neurotriage-listen"]["containers"][0]["volumeMounts"]
    }
    assert str(settings.storage.root) == mounts["storage"]
    assert settings.listener.tls is not None
    for file in (settings.listener.tls.certificate, settings.listener.tls.key, settings.listener.tls.ca):
        assert str(Path(str(file)).parent) == mounts["tls"]


@pytest.mark.parametrize(("name", "container"), CONTAINERS)
def test_all_read_the_configuration_and_the_secrets_by_name(name: str, container: dict[str, Any]) -> None:
    assert {"name": CONFIG_VARIABLE, "value": "/etc/neurotriage/config.toml"} in container["env"]
    assert {"secretRef": {"name": "neurotriage-environment"}} in container["envFrom"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in PODS[name]["volumes"]}
    text = (FOLDER / "kustomization.yaml").read_text()
    secrets = {source["secretRef"]["name"] for source in container["envFrom"]}
    assert all(f"#   {secret} " in text for secret in secrets)


@pytest.mark.parametrize(("name", "container"), CONTAINERS)
def test_no_container_may_become_another_user_or_write_beside_its_data(
    name: str, container: dict[str, Any]
) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (user,) = re.findall(r"useradd --system --uid (\d+) --gid \1 ", (ROOT / "Dockerfile").read_text())
    pod = PODS[name]["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert {pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"]} == {int(user)}
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert PODS[name]["automountServiceAccountToken"] is False
    assert "memory" in container["resources"]["limits"]


def test_the_address_of_a_sender_reaches_the_listener(settings: Settings) -> None:
    service = SERVICES["neurotriage-dicom"]
    assert service["externalTrafficPolicy"] == "Local"
    assert [port["port"] for port in service["ports"]] == [settings.listener.port]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_finds_a_port_of_a_deployment_that_is_asked_for_its_health(
    name: str, settings: Settings
) -> None:
    (found,) = (m for m in DEPLOYMENTS.values() if m["metadata"]["labels"] == SERVICES[name]["selector"])
    assert found["spec"]["selector"]["matchLabels"] == found["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["strategy"] == {"type": "Recreate"}  # one for a spool
    (container,) = found["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert [p["targetPort"] for p in SERVICES[name]["ports"]] == [port["name"]]
    asked = {
        "listen": settings.listener.also[0].port,
        "stow": StowSettings().port,
        "metrics": MetricsSettings().port,
    }[port["name"]]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f"'127.0.0.1', {asked})" in container[probe]["exec"]["command"][-1]


def test_a_probe_of_the_listener_is_no_handshake_that_fails(settings: Settings) -> None:
    (plain,) = settings.listener.also
    assert plain.tls is None
    assert plain.is_loopback
