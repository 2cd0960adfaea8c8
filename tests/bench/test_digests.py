"""``bench.digests`` shows every result that a change of the code changed."""

from pathlib import Path

import pytest

from bench.digests import differences, object_digests
from neurotriage import phantom


@pytest.mark.unit
def test_a_changed_a_lost_and_a_new_result_are_named() -> None:
    before = {"a": "1", "b": {"outcome": "present"}, "c": "3"}
    now = {"a": "1", "b": {"outcome": "absent"}, "d": "4"}
    assert differences(before, now) == [
        'b: {"outcome": "present"} -> {"outcome": "absent"}',
        'c: "3" -> null',
        'd: null -> "4"',
    ]


def test_the_same_code_gives_the_same_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.digests.STUDIES", {"ct_tilted": phantom.STUDIES["ct_tilted"]})
    first = dict(object_digests(tmp_path / "first"))
    assert first == dict(object_digests(tmp_path / "second"))
    assert any(name.startswith("ct_tilted/") and name.endswith(".dcm") for name in first)
