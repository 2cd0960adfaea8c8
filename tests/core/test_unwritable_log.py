"""Logging fails without ending anything."""

import io
import sys
from pathlib import Path

import pytest
import structlog

from neurotriage.core.process.log import set_up_logging

pytestmark = pytest.mark.unit


class _Full(io.TextIOBase):
    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("closed", [False, True], ids=["full disk", "closed"])
def test_a_log_that_cannot_be_written_ends_nothing(closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = structlog.get_config()
    stream = io.StringIO() if closed else _Full()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        set_up_logging()
        if closed:
            stream.close()
        structlog.get_logger().error("event", exc_info=ValueError("x"))
    finally:
        structlog.configure(**before)


def test_what_can_be_written_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = structlog.get_config()
    with (tmp_path / "log").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        try:
            set_up_logging()
            structlog.get_logger().info("event", number=1)
        finally:
            structlog.configure(**before)
    assert '"event": "event"' in (tmp_path / "log").read_text()
