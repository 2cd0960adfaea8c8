"""The readers' own environment, and one study with its objects of all kinds."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from neurotriage.core.evidence import Evidence
from neurotriage.core.summary import Language
from neurotriage.core.values import Analysis, Outcome, ResultKind
from neurotriage.phantom import INSTALLATION, Made, make_analysis, make_study
from tests.conftest import absent
from tests.results.told import told
from worker.results import build

NAME = "Müller^Jörg"
_DEFAULT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "neurotriage" / "readers"
_KINDS = set(ResultKind) - {ResultKind.OVERLAY_SERIES, ResultKind.OVERLAY_SERIES_FRAMES}


@dataclass(frozen=True, eq=False)
class Study:
    """A study in the set of Western Europe, as most are, and what was made of it."""

    made: Made
    analysis: Analysis
    evidence: Evidence
    objects: Path  # KIND-NNN.dcm
    sources: Path


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    sources, objects = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("objects")
    header = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": NAME, "StudyDescription": "Schädel"}
    made = make_study(sources, slices=15, header=header)
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    words = told(Language.GERMAN)
    for result in build(analysis, evidence, made.manifest, INSTALLATION, kinds=_KINDS, summary=words).objects:
        (objects / f"{result.kind.value}-{result.index:03d}.dcm").write_bytes(result.data)
    return Study(made, analysis, evidence, objects, sources)


@pytest.fixture(scope="session")
def readers() -> Path:
    """The folder with ``bin`` of a virtual environment and ``node_modules``; `.ci/run` makes it."""
    folder = Path(os.environ.get("NEUROTRIAGE_READERS", _DEFAULT))
    if not (folder / "bin" / "dcm2niix").exists() or not (folder / "node_modules" / "dwv").exists():
        absent("readers", f"no readers at {folder}; .ci/run installs them")
    return folder


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], str]:
    """The path of a program of a Debian package."""

    def find(name: str, package: str) -> str:
        path = shutil.which(name)
        if path is None:
            absent("readers", f"{name} is not installed (Debian: apt install {package})")
        return str(path)

    return find
