"""The one door of the room: volumes in, the study's decision and its evidence out."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.evidence import Evidence
from neurotriage.core.values import (
    Finding,
    Outcome,
    Prediction,
    Reason,
    ReasonCode,
    SeriesDecision,
    SliceScores,
    StudyDecision,
    Triage,
)
from neurotriage.core.volume import Volume
from worker.vision.decide import (
    BENIGN,
    MALIGNANT,
    TUMOUR,
    SeriesScore,
    decide_series,
    decide_study,
    map_pixel_mm2,
    score_series,
    slice_positions_mm,
    slice_steps_mm,
    suspicious_only,
    triage_of,
)
from worker.vision.eligibility import ENDS, Sections, measure_sections, no_head, noisy, too_little
from worker.vision.explain import MOST_KEPT, Shown, build_evidence, hot_region, key_row, rows_to_show
from worker.vision.findings import describe, find_lesions, lesion_maps
from worker.vision.models import Model, Models
from worker.vision.predict import SlicePredictions, predict_within_memory
from worker.vision.rule import StudyRule


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """What of a series is outlined."""

    findings: tuple[Finding, ...]
    lesions: NDArray[np.float32]  # (n, h, w) maps of the lesions, else 0
    level: float  # from which a pixel of these is lesion


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One series that the network could judge."""

    volume: Volume
    model: Model
    predictions: SlicePredictions
    found: SeriesScore
    outcome: Outcome
    reason: Reason
    marked: Marked
    degradations: tuple[str, ...]

    @property
    def look_alike(self) -> bool:
        """Whether something looks wrong that may be no tumour."""
        return self.found.look_alike >= self.model.rule.look_alike

    @property
    def deciding(self) -> NDArray[np.float64]:
        """(n,) the slice scores that the outcome follows."""
        return self.found.alike if self.reason.code is ReasonCode.LOOK_ALIKE else self.found.smoothed


def analyse_volumes(volumes: Sequence[Volume], models: Models) -> tuple[StudyDecision, Evidence]:
    """Judge all volumes of one study.

    Each volume ends PRESENT, ABSENT, UNDETERMINED, POOR_QUALITY or NOT_ELIGIBLE with a reason; the study's
    outcome follows by ``decide.decide_study``. Findings exist only where the study is PRESENT.
    Raises BadWeights where a model cannot be loaded.
    """
    begun = perf_counter()
    decisions: list[SeriesDecision] = []
    judged: list[Judged] = []
    for volume in volumes:
        decision, one = _judge(volume, models)
        decisions.append(decision)
        if one is not None:
            judged.append(one)
    outcome, reasons = decide_study([(row.outcome, row.reason) for row in decisions])
    deciding = [one for one in judged if one.outcome is outcome]
    key = max(deciding, key=_weight, default=None)
    look_alike = any(one.look_alike for one in judged)
    predicted = perf_counter()
    evidence = _evidence(judged, key)
    study = StudyDecision(
        outcome=outcome,
        triage=Triage.NONE
        if key is None
        else triage_of(outcome, malignant=_malignant(key.found), look_alike=look_alike),
        reasons=reasons,
        findings=tuple(finding for one in judged for finding in one.marked.findings),
        predictions=(*([] if key is None else [_prediction(key, None)]), *map(_of_series, judged)),
        series=tuple(decisions),
        degradations=(
            *models.degradations(),
            *dict.fromkeys(text for one in judged for text in one.degradations),
        ),
        timings_s={"predict": predicted - begun, "explain": perf_counter() - predicted},
    )
    return study, evidence


def _judge(volume: Volume, models: Models) -> tuple[SeriesDecision, Judged | None]:
    uid, unseen = volume.series_instance_uid, SliceScores((), ())
    if volume.modality not in models.cards:
        reason = Reason(ReasonCode.NO_MODEL, f"there is no model for {volume.modality} images")
        return SeriesDecision(uid, Outcome.NOT_ELIGIBLE, reason, unseen), None
    noise = noisy(volume, models.rules[volume.modality])
    if noise is not None:
        return SeriesDecision(uid, ENDS[noise.code], noise, unseen), None
    sections = measure_sections(volume)
    model, predictions = predict_within_memory(models, volume, sections)
    odd = model.reference.score(predictions.features)
    scores = _scores(volume, predictions.indices, predictions.tumour, odd)
    refusal = no_head(predictions, odd, sections, model.rule) or too_little(volume, model.rule)
    if refusal is not None:
        return SeriesDecision(uid, ENDS[refusal.code], refusal, scores), None
    found = score_series(volume, predictions, sections, model.rule, model.card.classes)
    outcome, reason = decide_series(found, model.rule)
    marked = _marked(volume, model.rule, predictions, found, outcome, sections)
    degradations = _degradations(volume, predictions, found, outcome)
    one = Judged(volume, model, predictions, found, outcome, reason, marked, degradations)
    return SeriesDecision(uid, outcome, reason, scores), one


def _scores(
    volume: Volume, indices: NDArray[np.intp], tumour: NDArray[np.float64], odd: NDArray[np.float64]
) -> SliceScores:
    """Scores of every slice; those that were not looked at lie between their neighbours."""
    every = np.arange(len(volume.voxels))
    return SliceScores(
        tumour=tuple(float(p) for p in np.interp(every, indices, tumour)),
        out_of_distribution=tuple(float(p) for p in np.interp(every, indices, odd)),
    )


def _marked(
    volume: Volume,
    rule: StudyRule,
    predictions: SlicePredictions,
    found: SeriesScore,
    outcome: Outcome,
    sections: Sections,
) -> Marked:
    """The decoder's lesions; where it outlines none in a positive series, the hottest regions of the map."""
    maps, level, lesions = predictions.masks, rule.mask_level, found.lesions
    if outcome is Outcome.PRESENT and not lesions:
        level = rule.heat_level
        maps = hot_region(suspicious_only(predictions.heat, found.smoothed >= rule.low))
        steps_mm = slice_steps_mm(slice_positions_mm(volume)[predictions.indices], volume.thickness_mm)
        lesions = find_lesions(maps, level, map_pixel_mm2(volume, predictions.grid, maps), steps_mm)
    kept = lesion_maps(maps, lesions)
    if outcome is not Outcome.PRESENT:
        return Marked((), kept, level)
    return Marked(describe(volume, predictions, kept, level, lesions, sections), kept, level)


def _degradations(
    volume: Volume, predictions: SlicePredictions, found: SeriesScore, outcome: Outcome
) -> tuple[str, ...]:
    """What was not done as it should be."""
    texts = []
    looked, there = len(predictions.indices), len(volume.voxels)
    if looked < there:
        texts.append(f"{looked} of {there} slices of series {volume.series_instance_uid} were looked at")
    if outcome is Outcome.PRESENT and not found.lesions:
        texts.append("no lesion mask: the findings outline the region that the classifier looked at")
    return tuple(texts)


def _evidence(judged: Sequence[Judged], key: Judged | None) -> Evidence:
    most = max(2, MOST_KEPT // max(1, len(judged)))
    shown = [
        Shown(
            one.volume,
            one.predictions,
            rows_to_show(one.predictions, one.deciding, one.marked.findings, most),
            one.marked.lesions,
            one.marked.level,
        )
        for one in judged
    ]
    if key is None:
        return build_evidence(shown, None)
    row = key_row(key.predictions, key.deciding, key.marked.findings)
    place = (key.volume.series_instance_uid, int(key.predictions.indices[row]))
    return build_evidence(shown, place)


def _weight(one: Judged) -> tuple[bool, float]:
    """By which the series is chosen that stands for the study: a possible bleed before a doubt."""
    return one.reason.code is ReasonCode.LOOK_ALIKE, float(one.deciding.max())


def _malignant(found: SeriesScore) -> bool:
    return found.classes.get(MALIGNANT, 0.0) > found.classes.get(BENIGN, 0.0)


def _of_series(one: Judged) -> Prediction:
    return _prediction(one, one.volume.series_instance_uid)


def _prediction(one: Judged, series_uid: str | None) -> Prediction:
    card = one.model.card
    return Prediction(
        model=card.name,
        version=card.version,
        sha256=card.sha256,
        modality=card.modality,
        probabilities={TUMOUR: one.found.score, **one.found.classes},
        threshold=one.model.rule.high,
        series_uid=series_uid,
        engine=one.model.engine.name,
        device=one.model.engine.device,
    )
