"""What a hospital is told that it installs is what the lock installs."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.components import LOCK, packages
from deploy.sbom import as_json
from tests.conftest import ROOT

pytestmark = pytest.mark.unit

LICENCES = ROOT / "docs" / "third-party-licences.md"
# Installed elsewhere only, so nothing here states a licence.
ELSEWHERE = {"async-timeout", "colorama"}


def _locked() -> set[tuple[str, str]]:
    """Name and version of each entry, read without the code that is held to it."""
    lines = LOCK.read_text().splitlines()
    entries = [re.match(r"([a-z0-9._-]+)(?:\[.*?\])?==([^ ;\\]+)", line) for line in lines]
    return {(entry[1], entry[2]) for entry in entries if entry is not None}


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(as_json())
    return document


def test_the_bill_is_cyclonedx() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(as_json()) is None


def test_every_package_of_the_lock_is_in_the_bill(bill: dict[str, Any]) -> None:
    listed = {(part["name"], part["version"]) for part in bill["components"]}
    assert len(_locked()) > 70
    assert _locked() <= listed
    assert {"torch", "sympy"} <= {name for name, _ in listed}  # installed beside the lock


def test_every_package_of_the_bill_has_a_licence_and_its_hashes(bill: dict[str, Any]) -> None:
    libraries = [part for part in bill["components"] if part["type"] == "library"]
    assert {part["name"] for part in libraries if "licenses" not in part} <= ELSEWHERE
    locked = {name for name, _ in _locked()}
    hashed = {part["name"] for part in libraries if "neurotriage:sha256" in json.dumps(part)}
    assert hashed == locked


def test_every_model_is_in_the_bill_with_the_hash_of_its_weights(bill: dict[str, Any]) -> None:
    registry = json.loads((ROOT / "weights" / "registry.json").read_text())
    models = {
        part["name"]: part["hashes"][0]["content"]
        for part in bill["components"]
        if part["type"] == "machine-learning-model"
    }
    assert models == {card["name"]: card["sha256"] for card in registry["models"]}


def test_the_bill_is_written_by_its_command(tmp_path: Path) -> None:
    file = tmp_path / "build" / "sbom.cdx.json"
    subprocess.run([sys.executable, "-m", "deploy.sbom", str(file)], cwd=ROOT, check=True)
    assert json.loads(file.read_text())["bomFormat"] == "CycloneDX"


def test_no_package_of_the_lock_is_missing_among_the_licences() -> None:
    """``make licences`` writes the document anew."""
    rows = re.findall(
        r"^\| (?:\[([^]]+)\]\S+|(\S+)) \| (\S+) \| (.+) \|$", LICENCES.read_text(), re.MULTILINE
    )
    listed = {(linked or bare, version): licence for linked, bare, version, licence in rows}
    del listed["package", "version"]
    assert _locked() <= set(listed)
    assert set(listed) == {(package.name, package.version) for package in packages()}
    stated = {
        name for (name, _), licence in listed.items() if licence not in ("elsewhere only", "not stated")
    }
    assert {name for name, _ in listed} - stated <= ELSEWHERE
