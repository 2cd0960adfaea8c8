"""A web server for the tests of this room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.telling.receivers import WebServer, web_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    with web_server(tmp_path) as made:
        yield made
