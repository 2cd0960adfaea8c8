"""What is told of the folder from which merges are taken."""

import os
import time
from pathlib import Path

import pytest

from dicom_listener.hl7 import folder as files
from neurotriage.doctor import Options, State, probes
from neurotriage.doctor.hl7 import look_at_hl7
from tests.doctor.looks import by_subject, settings

pytestmark = pytest.mark.unit


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    checks = by_subject(look_at_hl7(tmp_path / "missing"))
    assert checks["folder"].state is State.FAILED


def test_it_is_told_what_waits_and_what_was_refused(tmp_path: Path) -> None:
    assert {one.state for one in look_at_hl7(tmp_path)} == {State.OK}
    files.prepare(tmp_path)
    (tmp_path / "refused.hl7").write_bytes(b"junk")
    (seen,) = files.dropped(tmp_path)
    files.move(tmp_path, seen, files.REFUSED, "junk")
    (tmp_path / "now.hl7").write_bytes(b"")
    (tmp_path / "later.tmp").write_bytes(b"")
    checks = by_subject(look_at_hl7(tmp_path))
    assert (checks["waiting"].state, checks["refused"].state) == (State.OK, State.WARNING)
    assert checks["refused"].said.startswith("1 were refused")
    old_s = time.time() - 90
    os.utime(tmp_path / "now.hl7", (old_s, old_s))
    checks = by_subject(look_at_hl7(tmp_path))
    assert checks["waiting"].state is State.WARNING
    assert checks["waiting"].said.startswith("1 wait, the oldest for 9")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_is_closed_to_us_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    (check,) = look_at_hl7(tmp_path)
    assert check.state is State.FAILED


def test_the_folder_is_looked_at_where_one_is_set(tmp_path: Path) -> None:
    def parts(**sections: object) -> list[str]:
        return [probe.part for probe in probes(settings(**sections), Options())]

    assert "hl7" in parts(identity={"hl7_folder": tmp_path})
    assert "hl7" not in parts()
