"""Measured values with their limits, printed and written the same way by every measurement."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value and its upper limit, both in ``unit``."""

    what: str
    value: float
    unit: str
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the value is within the limit."""
        return self.value <= self.limit


def show(figures: Sequence[Figure]) -> None:
    """Print a line for each figure; one beyond its limit is marked."""
    for figure in figures:
        mark = "" if figure.holds else "  MISSED"
        print(
            f"{figure.what:60}{figure.value:>9.2f} {figure.unit:8} (limit {figure.limit:g}){mark}", flush=True
        )


def write(figures: Sequence[Figure], file: Path) -> None:
    """Write ``{"figures": [...]}``."""
    document = {"figures": [{**asdict(figure), "holds": figure.holds} for figure in figures]}
    file.write_text(json.dumps(document, indent=2))
