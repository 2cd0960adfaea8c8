"""From one volume to the decision on it: refused, or judged by the network, with its lesions outlined."""

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
    """The lesions of one series: the maps that outline them and, in a positive series, the findings."""

    findings: tuple[Finding, ...]
    maps: NDArray[np.float32]  # (n, h, w) over the network's input; 0 outside the lesions
    level: float  # a pixel of the maps above it is lesion


@dataclass(frozen=True, slots=True, eq=False)
class SeriesResult:
    """One series that the network could judge."""

    volume: Volume
    model: Model
    predictions: SlicePredictions
    score: SeriesScore
    outcome: Outcome
    reason: Reason
    outlined: OutlinedLesions
    degradations: tuple[str, ...]
    sections: Sections
    raised: bool = False  # undetermined alone, positive by the fusion

    @property
    def key(self) -> tuple[str, int]:
        """Series Instance UID and number of the stack."""
        return self.volume.series_instance_uid, self.volume.stack

    @property
    def mimic(self) -> bool:
        """Whether a tumour mimic (haemorrhage, infarct or clip) is suspected."""
        return self.score.mimic >= self.model.rule.mimic

    @property
    def suspicious(self) -> NDArray[np.bool_]:
        """(n,) whether the study rule allows marks on a slice."""
        return np.asarray(self.score.smoothed >= self.model.rule.low)

    @property
    def deciding(self) -> NDArray[np.float64]:
        """(n,) the slice scores behind the outcome: of a mimic where that is the reason, else of a tumour."""
        return self.score.smoothed_mimic if self.reason.code is ReasonCode.LOOK_ALIKE else self.score.smoothed


def judge(
    volume: Volume, models: Models, *, to_fuse: bool, together_mm: float = 0.0
) -> tuple[SeriesDecision, SeriesResult | None]:
    """The decision on one volume, and the network's result where it was not refused (else None).

    ``to_fuse``: keep the features that the fusion needs. ``together_mm``: the length of the slice axis that
    all stacks of the series cover together. Raises BadWeights where a model cannot be loaded.
    """

    def decision(outcome: Outcome, reason: Reason, scores: SliceScores) -> SeriesDecision:
        uid = volume.series_instance_uid
        return SeriesDecision(uid, outcome, reason, scores, volume.stack, volume.sources)

    no_scores = SliceScores((), ())
    if volume.modality not in models.cards:
        reason = Reason(ReasonCode.NO_MODEL, f"there is no model for {volume.modality} images")
        return decision(Outcome.NOT_ELIGIBLE, reason, no_scores), None
    # DICOM volumes were already tested for noise; the NIfTI files of training were not.
    noise = noisy(neighbour_correlation(sampled_slices(volume)), models.eligibility)
    if noise is not None:
        return decision(OUTCOME_OF_STACK[noise.code], noise, no_scores), None
    sections = measure_sections(volume)
    model, predictions = _predict_within_memory(models, volume, sections, to_fuse=to_fuse)
    ood = model.reference.score(predictions.features)
    scores = _scores(volume, predictions.indices, predictions.tumour, ood)
    refusal = refused_by_network(
        network_facts(predictions, ood, sections, model.rule),
        models.eligibility,
        min_head_probability=model.rule.head_probability,
        max_out_of_distribution=model.rule.ood_limit(volume.plane),
    ) or too_few_slices(extent(volume), models.eligibility)
    if refusal is not None:
        return decision(OUTCOME_OF_STACK[refusal.code], refusal, scores), None
    score = score_series(volume, predictions, sections, model.rule, model.card.classes)
    score = replace(score, coverage_mm=max(score.coverage_mm, together_mm))
    outcome, reason = decide_series(score, model.rule)
    outlined = _outlined(volume, model.rule, predictions, score, outcome, sections)
    degradations = _degradations(volume, predictions, score, outcome)
    result = SeriesResult(
        volume, model, predictions, score, outcome, reason, outlined, degradations, sections
    )
    return decision(outcome, reason, scores), result


def network_facts(
    predictions: SlicePredictions, ood: NDArray[np.float64], sections: Sections, rule: StudyRule
) -> NetworkFacts:
    """Medians over the slices of the predictions, without those that show only a small section of the head.

    ``ood`` (n,) is the out-of-distribution score of each of these slices.
    """
    shares = sections.shares[predictions.indices]
    full = shares >= rule.small_section * shares.max()
    return NetworkFacts(
        head_probability=float(np.median(predictions.head[full])),
        filled_share=float(np.median(sections.filled[predictions.indices][full])),
        out_of_distribution=float(np.median(ood[full])),
    )


def _predict_within_memory(
    models: Models, volume: Volume, sections: Sections, *, to_fuse: bool = False
) -> tuple[Model, SlicePredictions]:
    """The model of the volume's modality and its predictions; the light one's where memory is too short.

    There must be a model for the modality. ``to_fuse``: keep the features that the fusion needs.
    """
    model = models.required(volume.modality)
    try:
        return model, predict(volume, sections, model, models.fused_member(model.card) if to_fuse else None)
    except (MemoryError, RuntimeError) as error:
        why = models.why_light(volume.modality, error)
        if why is None:
            raise
    del model  # this reference would keep its memory
    light = models.fall_back(volume.modality, why)
    return light, predict(volume, sections, light)


def _scores(
    volume: Volume, indices: NDArray[np.intp], tumour: NDArray[np.float64], ood: NDArray[np.float64]
) -> SliceScores:
    """Scores of every slice; those that were left out of a long stack are interpolated."""
    every = np.arange(len(volume.voxels))
    return SliceScores(
        tumour=tuple(float(p) for p in np.interp(every, indices, tumour)),
        out_of_distribution=tuple(float(p) for p in np.interp(every, indices, ood)),
    )


def _outlined(
    volume: Volume,
    rule: StudyRule,
    predictions: SlicePredictions,
    score: SeriesScore,
    outcome: Outcome,
    sections: Sections,
) -> OutlinedLesions:
    """The decoder's lesions; where it outlines none in a positive series, the hottest regions of the map."""
    maps, level, lesions = predictions.masks, rule.mask_level, score.lesions
    if outcome is Outcome.PRESENT and not lesions:
        level = rule.heat_level
        maps = hot_region(suspicious_only(predictions.heat, score.smoothed >= rule.low))
        steps_mm = slice_steps_mm(slice_positions_mm(volume)[predictions.indices], volume.thickness_mm)
        lesions = find_lesions(maps, level, map_pixel_mm2(volume, predictions.grid, maps), steps_mm)
    kept = lesion_maps(maps, lesions)
    if outcome is not Outcome.PRESENT:
        return OutlinedLesions((), kept, level)
    return OutlinedLesions(describe(volume, predictions, kept, level, lesions, sections), kept, level)


def _degradations(
    volume: Volume, predictions: SlicePredictions, score: SeriesScore, outcome: Outcome
) -> tuple[str, ...]:
    """A sentence for each thing left out or replaced in the analysis of this series."""
    texts = []
    predicted, slices = len(predictions.indices), len(volume.voxels)
    if predicted < slices:
        texts.append(f"{predicted} of {slices} slices of series {volume.series_instance_uid} were looked at")
    if outcome is Outcome.PRESENT and not score.lesions:
        texts.append("no lesion mask: the findings outline the region that the classifier looked at")
    return tuple(texts)


def raised(result: SeriesResult, reason: Reason, heat: NDArray[np.float32]) -> SeriesResult:
    """An undetermined series made positive by the fusion; ``heat`` (n, fh, fw): the Grad-CAM of its score."""
    predictions = replace(result.predictions, heat=heat)
    outlined = _outlined(
        result.volume, result.model.rule, predictions, result.score, Outcome.PRESENT, result.sections
    )
    degradations = _degradations(result.volume, predictions, result.score, Outcome.PRESENT)
    return replace(
        result,
        predictions=predictions,
        outcome=Outcome.PRESENT,
        reason=reason,
        outlined=outlined,
        degradations=degradations,
        raised=True,
    )


def prediction_of(result: SeriesResult, series_instance_uid: str | None) -> Prediction:
    """The model's prediction on a series, or on the study where ``series_instance_uid`` is None."""
    card = result.model.card
    return Prediction(
        model=card.name,
        version=card.version,
        sha256=card.sha256,
        modality=card.modality,
        probabilities={TUMOUR: result.score.tumour, **result.score.classes},
        threshold=applied_threshold(result.score, result.model.rule),
        series_instance_uid=series_instance_uid,
        stack=result.volume.stack if series_instance_uid else 1,
        engine=result.model.engine.name,
        device=result.model.engine.device,
    )
