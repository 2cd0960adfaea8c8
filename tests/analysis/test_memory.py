"""A worker's memory has a bound: long stacks of large slices stay below it, from the files to the answer."""

from pathlib import Path

import pytest

from bench.memory import BOUND_MB, analyse_long_study, room_for


@pytest.mark.timeout(600)
@pytest.mark.parametrize("slices", [1000, 3000])
def test_long_stacks_of_large_slices_are_analysed_within_the_bound(tmp_path: Path, slices: int) -> None:
    if not room_for(tmp_path, slices):
        pytest.skip(f"needs more free disk for {slices} slices of 512 x 512")
    end = analyse_long_study(tmp_path / "ct", slices)
    assert end.peak_mb <= BOUND_MB
    assert end.outcome in ("present", "absent", "undetermined")
    assert any("slices of series" in text for text in end.degradations)
