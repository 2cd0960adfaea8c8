"""Counts read as people say them."""

import pytest

from neurotriage.core.wording import counted

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("count", "words"), [(0, "0 slices"), (1, "1 slice"), (25, "25 slices")])
def test_one_thing_is_not_counted_in_the_plural(count: int, words: str) -> None:
    assert counted(count, "slice") == words
