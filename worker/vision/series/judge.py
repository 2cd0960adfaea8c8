"""One series: whether it is a head that the network may judge, what it amounts to, and what is outlined."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.values import (
    Finding,
    Outcome,
    Prediction,
    Reason,
    ReasonCode,
    SeriesDecision,
    SliceScores,
)
from neurotriage.core.volume import Volume
from worker.eligibility import OUTCOME_OF_STACK, NetworkFacts, noisy, refused_by_network, too_few_slices
from worker.imaging.pixel_facts import extent, neighbour_correlation, sampled_slices
from worker.vision.model import Model
from worker.vision.models import Models
from worker.vision.registry.rule import StudyRule
from worker.vision.series.decide import (
    TUMOUR,
    SeriesScore,
    applied_threshold,
    decide_series,
    map_pixel_mm2,
    score_series,
    suspicious_only,
)
from worker.vision.series.explain import hot_region
from worker.vision.series.findings import describe, find_lesions, lesion_maps
from worker.vision.series.predict import SlicePredictions, predict
from worker.vision.slices.sections import Sections, measure_sections
from worker.vision.slices.slice_axis import slice_positions_mm, slice_steps_mm


@dataclass(frozen=True, slots=True, eq=False)
class OutlinedLesions:
    """What of a series is outlined."""

    findings: tuple[Finding, ...]
    lesions: NDArray[np.float32]  # (n, h, w) maps of the lesions, else 0
    level: float  # from which a pixel of these is lesion


@dataclass(frozen=True, slots=True, eq=False)
class SeriesResult:
    """One series that the network could judge."""

    volume: Volume
    model: Model
    predictions: SlicePredictions
    found: SeriesScore
    outcome: Outcome
    reason: Reason
    marked: OutlinedLesions
    degradations: tuple[str, ...]
    sections: Sections
    raised: bool = False  # other evidence made a doubt of it a tumour

    @property
    def key(self) -> tuple[str, int]:
        """What names it: Series Instance UID and stack."""
        return self.volume.series_instance_uid, self.volume.stack

    @property
    def mimic(self) -> bool:
        """Whether something looks wrong that may be no tumour."""
        return self.found.mimic >= self.model.rule.mimic

    @property
    def suspicious(self) -> NDArray[np.bool_]:
        """(n,) the slices on which something may be marked."""
        return np.asarray(self.found.smoothed >= self.model.rule.low)

    @property
    def deciding(self) -> NDArray[np.float64]:
        """(n,) the slice scores that the outcome follows."""
        return self.found.smoothed_mimic if self.reason.code is ReasonCode.LOOK_ALIKE else self.found.smoothed


def judge(
    volume: Volume, models: Models, *, to_fuse: bool, together_mm: float = 0.0
) -> tuple[SeriesDecision, SeriesResult | None]:
    """The end of one volume, and what there is to say of it where the network could judge it.

    ``to_fuse``: keep what the fusion needs. ``together_mm``: what the stacks of its series cover together.
    Raises BadWeights where a model cannot be loaded.
    """

    def ended(outcome: Outcome, reason: Reason, scores: SliceScores) -> SeriesDecision:
        uid = volume.series_instance_uid
        return SeriesDecision(uid, outcome, reason, scores, volume.stack, volume.sources)

    unseen = SliceScores((), ())
    if volume.modality not in models.cards:
        reason = Reason(ReasonCode.NO_MODEL, f"there is no model for {volume.modality} images")
        return ended(Outcome.NOT_ELIGIBLE, reason, unseen), None
    # Asked before DICOM volumes come here; others come from elsewhere (NIfTI files of training).
    noise = noisy(neighbour_correlation(sampled_slices(volume)), models.eligibility)
    if noise is not None:
        return ended(OUTCOME_OF_STACK[noise.code], noise, unseen), None
    sections = measure_sections(volume)
    model, predictions = _predict_within_memory(models, volume, sections, to_fuse=to_fuse)
    odd = model.reference.score(predictions.features)
    scores = _scores(volume, predictions.indices, predictions.tumour, odd)
    refusal = refused_by_network(
        network_facts(predictions, odd, sections, model.rule),
        models.eligibility,
        min_head_probability=model.rule.head_probability,
        max_out_of_distribution=model.rule.ood_limit(volume.plane),
    ) or too_few_slices(extent(volume), models.eligibility)
    if refusal is not None:
        return ended(OUTCOME_OF_STACK[refusal.code], refusal, scores), None
    found = score_series(volume, predictions, sections, model.rule, model.card.classes)
    found = replace(found, coverage_mm=max(found.coverage_mm, together_mm))
    outcome, reason = decide_series(found, model.rule)
    marked = _marked(volume, model.rule, predictions, found, outcome, sections)
    degradations = _degradations(volume, predictions, found, outcome)
    one = SeriesResult(volume, model, predictions, found, outcome, reason, marked, degradations, sections)
    return ended(outcome, reason, scores), one


def network_facts(
    predictions: SlicePredictions, odd: NDArray[np.float64], sections: Sections, rule: StudyRule
) -> NetworkFacts:
    """Medians over the slices that were looked at; those with a small section say little and are left out.

    ``odd`` (n,) is the out-of-distribution score of each slice.
    """
    shares = sections.shares[predictions.indices]
    full = shares >= rule.small_section * shares.max()
    return NetworkFacts(
        head_probability=float(np.median(predictions.head[full])),
        filled_share=float(np.median(sections.filled[predictions.indices][full])),
        out_of_distribution=float(np.median(odd[full])),
    )


def _predict_within_memory(
    models: Models, volume: Volume, sections: Sections, *, to_fuse: bool = False
) -> tuple[Model, SlicePredictions]:
    """What the model of the volume's modality says; the light one, where memory is too short for it.

    There must be a model for the modality. ``to_fuse``: keep what the fusion sees.
    """
    model = models.required(volume.modality)
    try:
        return model, predict(volume, sections, model, models.fused_member(model.card) if to_fuse else None)
    except (MemoryError, RuntimeError) as error:
        why = models.why_light(volume.modality, error)
        if why is None:
            raise
    del model  # or its memory would not be given back
    light = models.fall_back(volume.modality, why)
    return light, predict(volume, sections, light)


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
) -> OutlinedLesions:
    """The decoder's lesions; where it outlines none in a positive series, the hottest regions of the map."""
    maps, level, lesions = predictions.masks, rule.mask_level, found.lesions
    if outcome is Outcome.PRESENT and not lesions:
        level = rule.heat_level
        maps = hot_region(suspicious_only(predictions.heat, found.smoothed >= rule.low))
        steps_mm = slice_steps_mm(slice_positions_mm(volume)[predictions.indices], volume.thickness_mm)
        lesions = find_lesions(maps, level, map_pixel_mm2(volume, predictions.grid, maps), steps_mm)
    kept = lesion_maps(maps, lesions)
    if outcome is not Outcome.PRESENT:
        return OutlinedLesions((), kept, level)
    return OutlinedLesions(describe(volume, predictions, kept, level, lesions, sections), kept, level)


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


def raised(one: SeriesResult, reason: Reason, heat: NDArray[np.float32]) -> SeriesResult:
    """A series in doubt that other evidence makes positive; ``heat`` (n, fh, fw) is that evidence's."""
    predictions = replace(one.predictions, heat=heat)
    marked = _marked(one.volume, one.model.rule, predictions, one.found, Outcome.PRESENT, one.sections)
    degradations = _degradations(one.volume, predictions, one.found, Outcome.PRESENT)
    return replace(
        one,
        predictions=predictions,
        outcome=Outcome.PRESENT,
        reason=reason,
        marked=marked,
        degradations=degradations,
        raised=True,
    )


def prediction_of(one: SeriesResult, series_instance_uid: str | None) -> Prediction:
    """What the model said of a series, as word on it or on the study (None)."""
    card = one.model.card
    return Prediction(
        model=card.name,
        version=card.version,
        sha256=card.sha256,
        modality=card.modality,
        probabilities={TUMOUR: one.found.score, **one.found.classes},
        threshold=applied_threshold(one.found, one.model.rule),
        series_instance_uid=series_instance_uid,
        stack=one.volume.stack if series_instance_uid else 1,
        engine=one.model.engine.name,
        device=one.model.engine.device,
    )
