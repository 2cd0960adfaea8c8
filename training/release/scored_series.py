"""Series after the network, scored again and again while a study rule is chosen."""

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

ODD_MARGIN = 1.25  # a series is too odd this many times beyond the oddest known one of its plane
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
        """What the series amounts to under a rule."""
        return score_series(self.volume, self.predictions, self.sections, rule, self.classes)


def after_network(name: str, tumour: bool, volume: Volume, model: Model) -> ScoredSeries:
    """The network's word on one series."""
    sections = measure_sections(volume)
    predictions = predict(volume, sections, model)
    odd = float(np.median(model.reference.score(predictions.features)))
    return ScoredSeries(name, tumour, volume, predictions, sections, odd, model.card.classes)


def logits(seen: Sequence[ScoredSeries], rule: StudyRule) -> NDArray[np.float64]:
    """(n,) series scores as logits."""
    scores = [one.score(rule).score for one in seen]
    return np.asarray(logit(np.clip(scores, EDGE, 1 - EDGE)))


def on_every_engine(low: float) -> float:
    """The lower threshold, so low that no engine's answer below it is another one's above ``low``."""
    return round(float(expit(logit(low) - ENGINES_APART)), 3)


def with_odd_limits(rule: StudyRule, seen: Sequence[ScoredSeries]) -> StudyRule:
    """The rule with out-of-distribution limits; that of a plane of which nothing was seen is the largest."""

    def limit(plane: Plane) -> float:
        in_plane = [one.odd for one in seen if one.volume.plane is plane]
        return round(ODD_MARGIN * max(in_plane or [one.odd for one in seen]), 3)

    return replace(
        rule,
        odd_axial=limit(Plane.AXIAL),
        odd_coronal=limit(Plane.CORONAL),
        odd_sagittal=limit(Plane.SAGITTAL),
    )


def figure(one: ScoredSeries, rule: StudyRule) -> dict[str, object]:
    """What a rule says of one series, for people."""
    found = one.score(rule)
    return {
        "volume": one.name,
        "plane": one.volume.plane.value,
        "tumour": one.tumour,
        "outcome": decide_series(found, rule)[0].value,
        "score": round(found.score, 4),
        "look_alike": round(found.look_alike, 4),
        "lesion_mm3": round(max((lesion.volume_mm3 for lesion in found.lesions), default=0.0)),
        "head": round(float(np.median(one.predictions.head)), 3),
        "odd": round(one.odd, 3),
    }
