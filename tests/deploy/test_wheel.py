"""What is built installs without the repository, and shows what it is for."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

from neurotriage.core.settings.processing import WorkerSettings
from tests.conftest import ROOT

pytestmark = pytest.mark.scenario


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sdist and wheel, the latter built from the former."""
    folder = tmp_path_factory.mktemp("dist")
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    assert uv is not None
    subprocess.run(
        [
            uv,
            "build",
            "--offline",
            "--no-build-isolation",
            "--python",
            sys.executable,
            "--out-dir",
            folder,
            ROOT,
        ],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment of its own with the wheel; our packages are lent from this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A line of a .pth file is a path: .pth files in it, that of our working tree among them, are not read.
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-index", f"{wheel}[embedded]"], check=True)
    return folder / "bin"


def _run(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("NEUROTRIAGE", "PYTHON"))
    }
    return subprocess.run(
        [program, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=200
    )


def test_the_wheel_brings_weights_migrations_and_units(installed: Path) -> None:
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    weights = WorkerSettings().weights
    brought = {path.name for path in (packages / "weights").iterdir()}
    assert {path.name for path in weights.iterdir() if path.suffix in (".safetensors", ".json")} <= brought
    for folder in ("migrations/versions", "deploy/systemd"):
        here = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert here <= {path.name for path in (packages / folder).iterdir()}


def test_the_sdist_has_what_the_wheel_is_built_from_and_nothing_of_a_site(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "SECURITY.md", "requirements/embedded.lock"} <= names
    kept = {".venv", "build", "demo-output", "config.toml"}
    assert {name.split("/")[0] for name in names} & kept == set()


def test_the_demo_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    shown = _run(installed / "neurotriage", "demo", "--output", "out", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "done in" in shown.stdout
    assert "finding boxes lie on the lesion that was put in" in shown.stdout
    where = _run(installed / "python", "-c", "import neurotriage; print(neurotriage.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(installed.parent))
