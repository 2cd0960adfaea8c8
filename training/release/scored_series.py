"""Series after the network, scored again and again while a study rule is chosen, for MR and CT alike."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from neurotriage.core.values import Plane
from neurotriage.core.volume import Volume
from worker.vision.model import Model
from worker.vision.registry import StudyRule
from worker.vision.series.decide import SeriesScore, decide_series, score_series
from worker.vision.series.predict import SlicePredictions, predict
from worker.vision.slices.sections import Sections, measure_sections

SMOOTHINGS_MM = (4.0, 6.0, 8.0, 12.0)  # that are tried
# Whatever the validation data say: a score above it is never "absent", one below it never "present".
EVEN_ODDS = 0.5
STEP = 0.001  # to which thresholds are rounded
DIGITS = 3  # the same, for ``round``
ODD_MARGIN = 1.25  # the limit of a plane is this factor times the highest known score there
# The engines of the hosts may differ by this much, as logits (0.03 at even odds, which is what int8 may;
# bfloat16 does by half of it): "absent" is said only where each of them says it.
ENGINES_APART = 0.12
EDGE = 1e-4  # scores are compared as logits between this and 1 - this


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSeries:
    """One series after the network."""

    name: str
    tumour: bool
    volume: Volume
    predictions: SlicePredictions
    sections: Sections
    odd: float  # median over slices
    classes: tuple[str, ...]

    def score(self, rule: StudyRule) -> SeriesScore:
        """The score of the series under a rule."""
        return score_series(self.volume, self.predictions, self.sections, rule, self.classes)


def after_network(name: str, tumour: bool, volume: Volume, model: Model) -> ScoredSeries:
    """Run the network over the slices of one series."""
    sections = measure_sections(volume)
    predictions = predict(volume, sections, model)
    odd = float(np.median(model.reference.score(predictions.features)))
    return ScoredSeries(name, tumour, volume, predictions, sections, odd, model.card.classes)


def logits(known: Sequence[ScoredSeries], rule: StudyRule) -> NDArray[np.float64]:
    """(n,) series scores as logits."""
    scores = [series.score(rule).tumour for series in known]
    return np.asarray(logit(np.clip(scores, EDGE, 1 - EDGE)))


def on_every_engine(low: float) -> float:
    """The lower threshold, so low that no engine's answer below it is another one's above ``low``."""
    return round(float(expit(logit(low) - ENGINES_APART)), DIGITS)


def with_thresholds(rule: StudyRule, known: Sequence[ScoredSeries], low: float, high: float) -> StudyRule:
    """The rule with the two thresholds of the score and the limits of the out-of-distribution distance.

    ``low`` is stored so low that each engine stays below it; ``certain`` lies half way from ``high`` to 1.
    The limit of a plane of which no series is known is that of all planes.
    """

    def limit(plane: Plane) -> float:
        in_plane = [series.odd for series in known if series.volume.plane is plane]
        return round(ODD_MARGIN * max(in_plane or [series.odd for series in known]), DIGITS)

    return replace(
        rule,
        low=on_every_engine(low),
        high=round(high, DIGITS),
        certain=round((1 + high) / 2, DIGITS),
        ood_limit_axial=limit(Plane.AXIAL),
        ood_limit_coronal=limit(Plane.CORONAL),
        ood_limit_sagittal=limit(Plane.SAGITTAL),
    )


def figure(series: ScoredSeries, rule: StudyRule) -> dict[str, object]:
    """The outcome of one series under a rule and the figures behind it, for people to read."""
    score = series.score(rule)
    return {
        "volume": series.name,
        "plane": series.volume.plane.value,
        "tumour": series.tumour,
        "outcome": decide_series(score, rule)[0].value,
        "score": round(score.tumour, 4),
        "look_alike": round(score.mimic, 4),
        "lesion_mm3": round(max((lesion.volume_mm3 for lesion in score.lesions), default=0.0)),
        "head": round(float(np.median(series.predictions.head)), 3),
        "odd": round(series.odd, 3),
    }
