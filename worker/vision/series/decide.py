"""From slice scores to a series, from series to the study. Every number comes from the study rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.values import Outcome, Plane, Reason, ReasonCode, Triage
from neurotriage.core.volume import Volume
from neurotriage.core.wording import percent, percent_beside
from worker.vision.network import CLASSES, CT_CLASSES
from worker.vision.registry.rule import StudyRule
from worker.vision.series.findings import Lesion, find_lesions
from worker.vision.series.predict import InputGrid, SlicePredictions
from worker.vision.slices.sections import Sections
from worker.vision.slices.slice_axis import slice_positions_mm, slice_steps_mm, smooth

HEALTHY, BENIGN, MALIGNANT = CLASSES
_, MIMIC, TUMOUR = CT_CLASSES
DECIDING_SHARE = 0.5  # of the highest slice score; slices below it say nothing about the tumour's kind


@dataclass(frozen=True, slots=True, eq=False)
class SeriesScore:
    """What one series amounts to."""

    smoothed: NDArray[np.float64]  # (n,) weighed and smoothed slice probabilities of a tumour
    smoothed_mimic: NDArray[np.float64]  # (n,) the same of a tumour mimic; 0 where the model knows none
    classes: Mapping[str, float]  # by the names of the model's card
    lesions: tuple[Lesion, ...]  # of the decoder, large enough to agree with the classifier
    coverage_mm: float

    @property
    def score(self) -> float:
        """The series' probability of a tumour: that of its highest run of slices."""
        return float(self.smoothed.max())

    @property
    def mimic(self) -> float:
        """The series' probability of a tumour mimic (haemorrhage, infarct or surgical clip)."""
        return float(self.smoothed_mimic.max())


def score_series(
    volume: Volume,
    predictions: SlicePredictions,
    sections: Sections,
    rule: StudyRule,
    names: Sequence[str],
) -> SeriesScore:
    """Smooth along the slice axis, take the highest run, look for lesions on the suspicious slices.

    ``names`` are those of the card's classes.
    """
    along_mm = slice_positions_mm(volume)[predictions.indices]
    weights = slice_weights(volume, sections, rule)[predictions.indices]
    smoothed = smooth(predictions.tumour * weights, along_mm, rule.smoothing_mm)
    smoothed_mimic = np.zeros_like(smoothed)
    if MIMIC in names:
        seen = predictions.classes[:, names.index(MIMIC)] * weights
        smoothed_mimic = smooth(seen, along_mm, rule.smoothing_mm)
    steps_mm = slice_steps_mm(along_mm, volume.thickness_mm)
    maps = suspicious_only(predictions.masks, smoothed >= rule.low)
    found = find_lesions(maps, rule.mask_level, map_pixel_mm2(volume, predictions.grid, maps), steps_mm)
    return SeriesScore(
        smoothed=smoothed,
        smoothed_mimic=smoothed_mimic,
        classes=series_classes(names, predictions.classes, smoothed, smoothed_mimic),
        lesions=tuple(
            lesion
            for lesion in found
            if agrees(lesion, smoothed, rule) and cam_peak_share(lesion, predictions.heat) >= rule.lesion_heat
        ),
        coverage_mm=float(steps_mm.sum()),
    )


def series_classes(
    names: Sequence[str],
    classes: NDArray[np.float64],
    smoothed: NDArray[np.float64],
    smoothed_mimic: NDArray[np.float64],
) -> dict[str, float]:
    """What a series shows, from the class probabilities of its slices (n, 3) in the order of ``names``.

    The tumour head says whether there is one, the class head only which of the two kinds it is: its
    "healthy" knows no tumour-free slice of a patient. The deciding slices count by their score. A look-alike
    may lie beside a tumour, on slices of its own: each is the score of its own run, healthy is neither.
    """
    score = float(smoothed.max())
    if MIMIC in names:
        other = float(smoothed_mimic.max())
        return {HEALTHY: (1 - score) * (1 - other), MIMIC: other, TUMOUR: score}
    weights = np.where(smoothed >= DECIDING_SHARE * score, smoothed, 0.0)
    sums = dict(zip(names, map(float, (weights[:, None] * classes).sum(0)), strict=True))
    kinds = max(sums[BENIGN] + sums[MALIGNANT], float(np.finfo(float).tiny))
    return {HEALTHY: 1 - score} | {name: score * sums[name] / kinds for name in (BENIGN, MALIGNANT)}


def agrees(lesion: Lesion, smoothed: NDArray[np.float64], rule: StudyRule) -> bool:
    """Whether a lesion is large enough, lasts over enough slices and reaches one that is surely positive."""
    return bool(
        lesion.volume_mm3 >= rule.lesion_mm3
        and len(lesion.rows) >= min(rule.lesion_slices, len(smoothed))
        and smoothed[lesion.rows].max() >= rule.high
    )


def cam_peak_share(lesion: Lesion, heat: NDArray[np.float32]) -> float:
    """The hottest point of a lesion in maps (n, fh, fw), as share of the hottest of all; 0 if all is cold."""
    rows, y, x = np.nonzero(lesion.region)
    coarse = heat.shape[1] / lesion.region.shape[1], heat.shape[2] / lesion.region.shape[2]
    inside = heat[rows, (y * coarse[0]).astype(int), (x * coarse[1]).astype(int)]
    return float(inside.max() / max(float(heat.max()), np.finfo(np.float32).tiny))


def suspicious_only(maps: NDArray[np.float32], suspicious: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Maps (n, h, w) with those of other slices set to 0."""
    result: NDArray[np.float32] = maps * suspicious[:, None, None].astype(np.float32)
    return result


def slice_weights(volume: Volume, sections: Sections, rule: StudyRule) -> NDArray[np.float64]:
    """(slices,) 1, or less near the vertex, on end slices and below the skull base; 0 on blank ones.

    Such slices hold little brain, and most false alarms. The skull base is found by its distance from the
    vertex, which is only known where the uppermost slice shows a small section; and on CT by its open ring
    of bone. As ``rule.outer_weight`` lies below ``rule.high``, such slices alone make no series positive.
    """
    small = sections.brain_shares < rule.small_section
    outer = small
    if volume.plane is Plane.AXIAL and not small.all():
        height_mm = volume.positions_mm[:, 2]
        top = int(height_mm.argmax())
        if small[top]:
            vertex_mm = height_mm[~small].max()
            outer = small | (height_mm < vertex_mm - rule.brain_height_mm)
    blank = sections.shares < rule.blank_section
    return np.where(blank, 0.0, np.where(outer, rule.outer_weight, 1.0))


def map_pixel_mm2(volume: Volume, grid: InputGrid, maps: NDArray[np.float32]) -> float:
    """Area of one pixel of maps (n, h, w) over the network's input."""
    row_mm, column_mm = grid.display.spacing_mm(volume.pixel_spacing_mm)
    height, width = maps.shape[1:]
    return float(grid.box.height_px / height * row_mm * grid.box.width_px / width * column_mm)


def applied_threshold(found: SeriesScore, rule: StudyRule) -> float:
    """What the score was held against: ``high``; above it and without a lesion, ``certain``."""
    return rule.certain if found.score >= rule.high and not found.lesions else rule.high


def decide_series(found: SeriesScore, rule: StudyRule) -> tuple[Outcome, Reason]:
    """PRESENT, ABSENT or UNDETERMINED, and why."""
    score, probability = found.score, f"probability {percent(found.score)}"
    if score >= applied_threshold(found, rule):
        return Outcome.PRESENT, Reason(ReasonCode.TUMOUR, f"tumour on neighbouring slices, {probability}")
    if found.mimic >= rule.mimic:
        text = (
            "something looks wrong that may be no tumour but a bleed, an infarct or a clip: "
            f"probability {percent_beside(found.mimic, rule.mimic)}, "
            f"which counts from {percent(rule.mimic)} on"
        )
        return Outcome.UNDETERMINED, Reason(ReasonCode.LOOK_ALIKE, text)
    if score >= rule.high:
        text = (
            f"probability {percent_beside(score, rule.certain)} speaks of a tumour, but no lesion could be "
            f"outlined, and without one it takes {percent(rule.certain)}"
        )
        return Outcome.UNDETERMINED, Reason(ReasonCode.NO_SAFE_ANSWER, text)
    if score >= rule.low:
        nearest = min((rule.low, rule.high), key=lambda limit: abs(score - limit))
        text = (
            f"probability {percent_beside(score, nearest)} lies between {percent(rule.low)} (no tumour) "
            f"and {percent(rule.high)} (tumour)"
        )
        return Outcome.UNDETERMINED, Reason(ReasonCode.NO_SAFE_ANSWER, text)
    if found.coverage_mm < rule.coverage_mm:
        text = f"no tumour on the {found.coverage_mm:.0f} mm that were imaged, which is not the whole head"
        return Outcome.UNDETERMINED, Reason(ReasonCode.TOO_FEW_SLICES, text)
    return Outcome.ABSENT, Reason(ReasonCode.NO_TUMOUR, f"no tumour, {probability}")


def decide_study(series: Sequence[tuple[Outcome, Reason]]) -> tuple[Outcome, tuple[Reason, ...]]:
    """PRESENT beats UNDETERMINED beats ABSENT; a series that shows a part of the head yields to a whole one.

    Without a series that could be judged: POOR_QUALITY beats NOT_ELIGIBLE, with the reasons of all.
    """
    judged = [(outcome, reason) for outcome, reason in series if outcome.analysed]
    whole = [row for row in judged if row[1].code is not ReasonCode.TOO_FEW_SLICES]
    order = (
        (Outcome.PRESENT, Outcome.UNDETERMINED, Outcome.ABSENT)
        if judged
        else (Outcome.POOR_QUALITY, Outcome.NOT_ELIGIBLE)
    )
    rows = whole or judged or series
    for outcome in order:
        reasons = tuple(dict.fromkeys(reason for found, reason in rows if found is outcome))
        if reasons:
            return outcome, reasons
    return Outcome.NOT_ELIGIBLE, (Reason(ReasonCode.NO_HEAD_SERIES, "no series of a head to analyse"),)


def triage_of(outcome: Outcome, *, malignant: bool, mimic: bool) -> Triage:
    """How soon a person should look.

    ``malignant``: the tumour looks malignant rather than benign; ``mimic``: a bleed or an infarct may be
    there, with a tumour or without.
    """
    if outcome is Outcome.PRESENT:
        return Triage.URGENT if malignant or mimic else Triage.PRIORITY
    if outcome is Outcome.UNDETERMINED:
        return Triage.URGENT if mimic else Triage.PRIORITY
    return Triage.ROUTINE if outcome is Outcome.ABSENT else Triage.NONE
