"""The numbers of a CT study rule, from series with and without a mass (``training.synthetic_ct.series``)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from training.release.scored_series import (
    EDGE,
    ScoredSeries,
    after_network,
    figure,
    logits,
    on_every_engine,
    with_odd_limits,
)
from training.synthetic_ct.series import BLEED, HEALTHY, MASS, CtSeries
from worker.vision.model import Model
from worker.vision.registry import StudyRule

SMOOTHINGS_MM = (4.0, 6.0, 8.0, 12.0)
PLAIN_MM = 20.0  # a mass of this diameter or more must not be missed
EVEN_ODDS = 0.5  # a score above it is never "absent", one below it never "present"
DOUBTFUL_SHARE = 0.2  # of the healthy series that may end undetermined for their tumour score
ALARM_SHARE = 0.1  # of the healthy series that may be called a look-alike
OPEN_SHARE = 0.1  # of the plain masses that may end undetermined, so that "present" is said with care
CALLED_SHARE = 0.2  # of the bleeds that may be called a tumour; they are urgent in any case
TAIL = 0.05  # left out on either side when the gap is measured
STEP = 0.001  # of what is stored


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSeries:
    """One series after the network, and what is in it."""

    seen: ScoredSeries
    kind: str
    diameter_mm: float

    @property
    def plain(self) -> bool:
        """A mass that must not be missed."""
        return self.kind == MASS and self.diameter_mm >= PLAIN_MM


def look(series: Iterable[CtSeries], model: Model) -> list[LabelledSeries]:
    """The network's word on each series."""
    return [
        LabelledSeries(
            after_network(one.name, one.kind == MASS, one.volume, model), one.kind, one.diameter_mm
        )
        for one in series
    ]


def choose(known: Sequence[LabelledSeries], start: StudyRule) -> StudyRule:
    """The smoothing with the widest gap between healthy series and plain masses, then the thresholds.

    ``high`` lies above all healthy series, above most bleeds, which are not to be called tumours, and as high
    as plain masses allow.
    ``low`` lies below all plain masses, half way to the healthy series; where they overlap, such that few of
    these lie above it.
    """
    healthy = [one.seen for one in known if one.kind == HEALTHY]
    plain = [one.seen for one in known if one.plain]
    bleeds = [one.seen for one in known if one.kind == BLEED]

    def gap(smoothing_mm: float) -> float:
        rule = replace(start, smoothing_mm=smoothing_mm)
        return float(np.quantile(logits(plain, rule), TAIL) - np.quantile(logits(healthy, rule), 1 - TAIL))

    rule = replace(start, smoothing_mm=max(SMOOTHINGS_MM, key=gap))
    free = tumour_scores(healthy, rule)
    called = float(np.quantile(tumour_scores(bleeds, rule), 1 - CALLED_SHARE))
    found = tumour_scores(plain, rule)
    cautious = float(np.quantile(found, OPEN_SHARE))
    high = max(free.max() + STEP, called, cautious, EVEN_ODDS, rule.outer_weight + STEP)
    low = min(found.min() - STEP, EVEN_ODDS)
    if low > free.max():
        low = expit((logit(low) + logit(max(free.max(), EDGE))) / 2)
    else:
        low = max(low, np.quantile(free, 1 - DOUBTFUL_SHARE))
    calm = np.quantile([one.score(rule).look_alike for one in healthy], 1 - ALARM_SHARE)
    return replace(
        with_odd_limits(rule, [one.seen for one in known]),
        low=on_every_engine(min(low, high)),
        high=round(float(high), 3),
        certain=round(float(1 + high) / 2, 3),
        look_alike=round(max(rule.look_alike, float(calm) + STEP), 3),
    )


def tumour_scores(seen: Sequence[ScoredSeries], rule: StudyRule) -> NDArray[np.float64]:
    """(n,) series scores."""
    return np.array([one.score(rule).score for one in seen])


def figures(known: Sequence[LabelledSeries], rule: StudyRule) -> list[dict[str, object]]:
    """One row a series, for people."""
    return [
        figure(one.seen, rule) | {"kind": one.kind, "diameter_mm": round(one.diameter_mm)} for one in known
    ]


def summary(rows: Sequence[dict[str, object]]) -> list[str]:
    """How many series of each kind ended how, and what must not happen."""
    kinds = {
        "healthy": [row for row in rows if row["kind"] == HEALTHY],
        "bleed": [row for row in rows if row["kind"] == BLEED],
        f"mass of {PLAIN_MM:.0f} mm or more": [row for row in rows if _size(row) >= PLAIN_MM],
        "smaller mass": [row for row in rows if 0 < _size(row) < PLAIN_MM],
    }
    return [f"{kind}: {dict(Counter(str(row['outcome']) for row in some))}" for kind, some in kinds.items()]


def _size(row: dict[str, object]) -> float:
    return float(str(row["diameter_mm"]))
