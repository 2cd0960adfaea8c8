"""Numbers and functional groups out of a header that may lie about its own value types."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DatasetSequence

from neurotriage.core.headers import MALFORMED


def value(dataset: Dataset, name: str) -> Any:
    """An attribute's value; None where it is absent, empty or cannot be parsed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = dataset.get(name)
        except MALFORMED:
            return None
    return None if found is None or found == "" else found


def numbers(dataset: Dataset, name: str) -> tuple[float, ...]:
    """A multi-valued number; empty where it is absent, unreadable or not finite."""
    found = value(dataset, name)
    if found is None:
        return ()
    several = isinstance(found, Sequence) and not isinstance(found, (str, bytes))
    try:
        parsed = tuple(float(part) for part in (found if several else (found,)))
    except MALFORMED:
        return ()
    return parsed if all(math.isfinite(part) for part in parsed) else ()


def number(dataset: Dataset, name: str) -> float | None:
    """The first value of a number, or None."""
    found = numbers(dataset, name)
    return found[0] if found else None


def whole_number(dataset: Dataset, name: str) -> int | None:
    """The first value of a number, without its fraction, or None."""
    found = number(dataset, name)
    return None if found is None else int(found)


def items(dataset: Dataset, name: str) -> Sequence[Dataset]:
    """The items of a sequence; empty where there is none."""
    found = value(dataset, name)
    return found if isinstance(found, DatasetSequence) else ()


def functional_group(dataset: Dataset, index: int, name: str) -> Dataset | None:
    """One functional group of a frame (0-based): its own, else the shared one (PS3.3 C.7.6.16)."""
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    own = items(per_frame[index], name) if index < len(per_frame) else ()
    if own:
        return own[0]
    shared = items(dataset, "SharedFunctionalGroupsSequence")
    common = items(shared[0], name) if shared else ()
    return common[0] if common else None
