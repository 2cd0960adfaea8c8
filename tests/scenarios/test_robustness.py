"""What comes in goes on, whatever else does: the claims of ``bench.robustness``, as tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench import robustness
from bench.figures import Figure
from bench.robustness import CannotMount

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(400)]

# The limits are those of a quiet host, where `python -m bench.robustness` holds them.
BESIDE_OTHER_TESTS = 3.0

# A worker's memory is held by tests/analysis/test_memory.py, which asks how the study ends, too.
CLAIMS = [claim for claim in robustness.CLAIMS if claim is not robustness.worker_memory]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_every_limit_holds(claim: Callable[[Path], list[Figure]], tmp_path: Path) -> None:
    try:
        figures = claim(tmp_path)
    except CannotMount as error:
        pytest.skip(f"no small disk can be mounted here (it needs root): {error}")
    assert [figure for figure in figures if figure.value > BESIDE_OTHER_TESTS * figure.limit] == []
