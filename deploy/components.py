"""What an installation is made of: the packages of the lock, torch and what it brings, and the weights."""

import importlib.metadata
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageMetadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements" / "embedded.lock"
# Installed first and apart from the lock, see requirements/without-torch.txt.
BESIDE_THE_LOCK: Final = "torch"

_ENTRY: Final = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>\S+?)(?: ; (?P<marker>.*?))? ?\\?$"
)
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_LONGEST_NAME: Final = 60  # of a licence; some packages put its whole text there
_PAGES: Final = ("source", "source code", "repository", "homepage", "github", "code")


@dataclass(frozen=True, slots=True)
class Package:
    """A package of an installation, with what its own metadata say of it where it is installed here."""

    name: str
    version: str
    marker: str  # where it is installed; empty: everywhere
    sha256: tuple[str, ...]  # of its files in the index, hex; none for torch and what it brings
    licence: str  # SPDX expression, or the name that it gives; empty: not installed here, or not stated
    page: str  # URL; empty: none stated


@dataclass(frozen=True, slots=True)
class Weights:
    """A model whose weights are shipped."""

    name: str
    version: str
    sha256: str  # of the file; of an ensemble over its members' hashes


def packages() -> list[Package]:
    """The packages of the lock and, beside it, torch with what it needs here; by name."""
    locked = list(_locked(LOCK.read_text(encoding="utf-8")))
    names = {package.name for package in locked}
    beside = [_installed(name) for name in sorted(_needed_by(BESIDE_THE_LOCK) - names)]
    return sorted([*locked, *beside], key=lambda package: (package.name, package.version))


def weights() -> list[Weights]:
    """The models of the weights folder, as its registry lists them."""
    registry = json.loads((ROOT / "weights" / "registry.json").read_text(encoding="utf-8"))
    return [Weights(card["name"], card["version"], card["sha256"]) for card in registry["models"]]


def _locked(text: str) -> Iterator[Package]:
    for block in re.split(r"\n(?=\S)", text):
        entry = _ENTRY.match(block.partition("\n")[0])
        if entry is not None:
            name = entry["name"].lower()
            licence, page = _stated(name)
            hashes = tuple(_HASH.findall(block))
            yield Package(name, entry["version"], entry["marker"] or "", hashes, licence, page)


def _installed(name: str) -> Package:
    """A package as it is installed here, without the build of a processor (``+cpu``)."""
    version = importlib.metadata.version(name).partition("+")[0]
    return Package(name, version, "", (), *_stated(name))


def _needed_by(name: str) -> set[str]:
    """A package and all that it needs, without extras and what is not installed on this platform."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        try:
            needs = importlib.metadata.requires(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(package)
        names = (re.match(r"[A-Za-z0-9._-]+", need) for need in needs if "extra ==" not in need)
        waiting += [match[0].lower().replace("_", "-") for match in names if match is not None]
    return found


def _stated(name: str) -> tuple[str, str]:
    """Licence and page by a package's own metadata; empty where it is not installed or says nothing."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return "", ""
    urls = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    pages = {label.lower(): url for label, url in urls.items()}
    page = next((pages[label] for label in _PAGES if label in pages), _field(metadata, "Home-page"))
    classifiers = metadata.get_all("Classifier", [])
    classified = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    words = _field(metadata, "License").strip()
    own = words if "\n" not in words and len(words) <= _LONGEST_NAME else ""
    licence = _field(metadata, "License-Expression") or " or ".join(sorted(classified)) or own
    return licence, page


def _field(metadata: PackageMetadata, name: str) -> str:
    return metadata.get_all(name, [""])[0]
