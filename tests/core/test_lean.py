"""A process without the libraries that it never calls."""

import subprocess
import sys

import pytest

from neurotriage.core.process import lean

HEAVY = {*lean.NEVER_CALLED, "sqlalchemy", "cryptography"}


@pytest.mark.parametrize(
    ("module", "loaded"),
    [
        ("dicom_listener.ingest.header_reader", set()),
        ("dicom_listener.ingester", {"sqlalchemy"}),
        ("dicom_listener.service, neurotriage.cli", set()),  # what receives
    ],
)
def test_what_is_never_called_is_not_loaded(module: str, loaded: set[str]) -> None:
    code = (
        "import sys; from neurotriage.core.process import lean; lean.leave_out(lean.NEVER_CALLED);"
        f"import {module}; print(*(name for name in {HEAVY} if sys.modules.get(name)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(shown.split()) == loaded


def test_a_module_runs_without_them() -> None:
    answer = subprocess.run(lean.command("platform"), capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("Linux")
