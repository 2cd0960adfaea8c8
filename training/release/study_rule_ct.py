"""The numbers of a CT study rule, from series with and without a mass (``training.synthetic_ct.series``).

It stands apart from the choice for MR (``training.release.study_rule``): how much a synthetic mass shows is
known, so the plain ones set the limits, and look-alikes have a threshold of their own; of real MR volumes no
such thing is known, and their wrong answers are counted instead.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from training.release.scored_series import (
    DIGITS,
    EDGE,
    EVEN_ODDS,
    SMOOTHINGS_MM,
    STEP,
    ScoredSeries,
    after_network,
    figure,
    logits,
    with_thresholds,
)
from training.synthetic_ct.series import BLEED, HEALTHY, MASS, CtSeries
from worker.vision.model import Model
from worker.vision.registry import StudyRule

PLAIN_MM = 20.0  # a mass of this diameter or more must not be missed
DOUBTFUL_SHARE = 0.2  # of the healthy series that may end undetermined for their tumour score
ALARM_SHARE = 0.1  # of the healthy series that may be called a look-alike
OPEN_SHARE = 0.1  # of the plain masses that may end undetermined, so that "present" is said with care
CALLED_SHARE = 0.2  # of the bleeds that may be called a tumour; they are urgent in any case
TAIL = 0.05  # left out on either side when the gap is measured


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSeries:
    """One series after the network, and what is in it."""

    series: ScoredSeries
    kind: str
    diameter_mm: float

    @property
    def plain(self) -> bool:
        """A mass that must not be missed."""
        return self.kind == MASS and self.diameter_mm >= PLAIN_MM


def look(series: Iterable[CtSeries], model: Model) -> list[LabelledSeries]:
    """Each series after the network."""
    return [
        LabelledSeries(
            after_network(made.name, made.kind == MASS, made.volume, model), made.kind, made.diameter_mm
        )
        for made in series
    ]


def choose(known: Sequence[LabelledSeries], start: StudyRule) -> StudyRule:
    """The smoothing with the widest gap between healthy series and plain masses, then the thresholds.

    ``high`` lies above all healthy series, above most bleeds, which are not to be called tumours, and as high
    as plain masses allow.
    ``low`` lies below all plain masses, half way to the healthy series; where they overlap, such that few of
    these lie above it.
    """
    healthy = [labelled.series for labelled in known if labelled.kind == HEALTHY]
    plain = [labelled.series for labelled in known if labelled.plain]
    bleeds = [labelled.series for labelled in known if labelled.kind == BLEED]

    def gap(smoothing_mm: float) -> float:
        rule = replace(start, smoothing_mm=smoothing_mm)
        return float(np.quantile(logits(plain, rule), TAIL) - np.quantile(logits(healthy, rule), 1 - TAIL))

    rule = replace(start, smoothing_mm=max(SMOOTHINGS_MM, key=gap))
    free = tumour_scores(healthy, rule)
    called = float(np.quantile(tumour_scores(bleeds, rule), 1 - CALLED_SHARE))
    masses = tumour_scores(plain, rule)
    cautious = float(np.quantile(masses, OPEN_SHARE))
    high = max(free.max() + STEP, called, cautious, EVEN_ODDS, rule.outer_weight + STEP)
    low = min(masses.min() - STEP, EVEN_ODDS)
    if low > free.max():
        low = expit((logit(low) + logit(max(free.max(), EDGE))) / 2)
    else:
        low = max(low, np.quantile(free, 1 - DOUBTFUL_SHARE))
    calm = np.quantile([series.score(rule).mimic for series in healthy], 1 - ALARM_SHARE)
    rule = replace(rule, mimic=round(max(rule.mimic, float(calm) + STEP), DIGITS))
    return with_thresholds(rule, [labelled.series for labelled in known], float(min(low, high)), float(high))


def tumour_scores(known: Sequence[ScoredSeries], rule: StudyRule) -> NDArray[np.float64]:
    """(n,) series scores."""
    return np.array([series.score(rule).tumour for series in known])


def figures(known: Sequence[LabelledSeries], rule: StudyRule) -> list[dict[str, object]]:
    """One row for each series, for people to read."""
    return [
        figure(labelled.series, rule) | {"kind": labelled.kind, "diameter_mm": round(labelled.diameter_mm)}
        for labelled in known
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
