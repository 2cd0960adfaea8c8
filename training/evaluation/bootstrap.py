"""Intervals by resampling groups (patients), the only honest unit where slices of one patient are alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 500
MIN_GROUPS = 8  # below this an interval says nothing and is left out
INTERVAL_PERCENT = (2.5, 97.5)

Figures = Callable[[NDArray[np.intp]], Mapping[str, float]]


def with_intervals(figures: Figures, groups: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Each figure over all cases as ``{value, low, high, n_groups}``; null where it is not defined.

    ``figures`` maps indices of cases (with repetitions) to named values; ``groups`` names each case's
    group. Percentile bootstrap (Efron, Annals of Statistics 1979); low and high are null for fewer than
    MIN_GROUPS groups.
    """
    names, members = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    values = figures(np.arange(len(groups)))
    drawn: list[Mapping[str, float]] = []
    if len(names) >= MIN_GROUPS:
        rows = [np.flatnonzero(members == group) for group in range(len(names))]
        random = np.random.default_rng(seed)
        for _ in range(RESAMPLES):
            chosen = random.integers(len(names), size=len(names))
            drawn.append(figures(np.concatenate([rows[group] for group in chosen])))
    return {name: _figure(value, [d[name] for d in drawn], len(names)) for name, value in values.items()}


def shown(figure: dict[str, float] | None) -> str:
    """A figure with its interval as text."""
    if figure is None:
        return "not defined"
    interval = "" if figure["low"] is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
    groups = "1 group" if figure["n_groups"] == 1 else f"{figure['n_groups']} groups"
    return f"{figure['value']:.3f}{interval}, {groups}"


def _figure(value: float, drawn: list[float], groups: int) -> dict[str, float | int | None] | None:
    if not np.isfinite(value):
        return None
    usable = [d for d in drawn if np.isfinite(d)]
    low, high = np.percentile(usable, INTERVAL_PERCENT) if usable else (None, None)
    return {
        "value": float(value),
        "low": None if low is None else float(low),
        "high": None if high is None else float(high),
        "n_groups": groups,
    }
