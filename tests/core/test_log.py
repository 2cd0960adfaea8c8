"""Logs hold no value of a header, whoever writes them, and every line of them is JSON."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

CANARY = "Canary^Name"

NOISE = f"""
import logging, sys, threading, warnings
import structlog
from neurotriage.core.process.log import set_up_logging

set_up_logging()
canary = {CANARY!r}
for _ in range(3):
    warnings.warn(f"Invalid value for VR LO: {{canary}}", UserWarning, stacklevel=1)
warnings.warn_explicit(canary, DeprecationWarning, "/x/site-packages/pydicom/valuerep.py", 7)
logging.getLogger("pydicom").error(canary)
logging.getLogger("highdicom.sr").warning(f"{{canary}} is odd")
logging.getLogger("kombu").error("cannot take %s", canary)
log = structlog.get_logger()

def fail(name):
    raise ValueError(f"could not convert {{name}}")

try:
    fail(canary)
except ValueError as error:
    log.exception("handler_failed")
    logging.getLogger("celery").exception(error)
    log.error("again", exc_info=error)
thread = threading.Thread(target=fail, args=(canary,))
thread.start()
thread.join()
fail(canary)
"""


def test_what_libraries_say_is_told_without_their_words() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", NOISE], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert CANARY not in ended.stderr + ended.stdout
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    told = [line["event"] for line in lines]
    assert told.count("uncaught") == 2  # of a thread, and of the process
    assert {line.get("error") for line in lines if line["event"] == "handler_failed"} == {"ValueError"}
    assert all("fail" in line["frames"][-1] for line in lines if "frames" in line)
    warned = [line for line in lines if line["event"] == "library_warning"]
    assert [line["where"] for line in warned if line.get("category") == "DeprecationWarning"] == [
        "pydicom/valuerep.py:7"
    ]
    assert len([line for line in warned if line.get("category") == "UserWarning"]) == 1  # once a place
    assert [line["template"] for line in lines if line.get("where", "").startswith("kombu")] == [
        "cannot take %s"
    ]
