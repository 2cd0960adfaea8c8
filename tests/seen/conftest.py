"""One archive and one browser for all studies that are looked at."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import absent
from tests.seen.ohif import served
from tests.seen.pacs import DICOM_WEB_PLUGIN, Pacs, running_pacs

if TYPE_CHECKING:
    from tests.seen.viewer import Viewer


def ohif_folder() -> Path:
    """Where the built application lies."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("NEUROTRIAGE_OHIF", cache / "neurotriage" / "ohif"))


@pytest.fixture(scope="session")
def viewer_parts(orthanc: None) -> None:
    """All that a viewer in front of an archive needs."""
    missing = [
        name
        for name, here in (
            ("chromium (Debian: apt install chromium)", shutil.which("chromium")),
            ("DICOMweb for Orthanc (Debian: apt install orthanc-dicomweb)", DICOM_WEB_PLUGIN.exists()),
            (f"OHIF in {ohif_folder()} (.ci/run fetches it)", (ohif_folder() / "index.html").exists()),
            ("playwright (pip install -e '.[seen]')", find_spec("playwright")),
        )
        if not here
    ]
    if missing:
        absent("viewer", f"no viewer to look with: {'; '.join(missing)}")


@pytest.fixture(scope="session")
def pacs(viewer_parts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    with running_pacs(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="session")
def viewer(pacs: Pacs) -> "Iterator[Viewer]":
    """OHIF in front of the archive."""
    from tests.seen.viewer import browser  # needs playwright

    with served(ohif_folder(), pacs.http_port) as address, browser(address) as opened:
        yield opened


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures of what was seen are kept: ``NEUROTRIAGE_PICTURES``, or among pytest's folders."""
    wanted = os.environ.get("NEUROTRIAGE_PICTURES")
    return Path(wanted) if wanted else tmp_path_factory.mktemp("pictures")
