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
DECIDING_SHARE = 0.5  # of the highest slice score; slices below it do not count for the kind of tumour


@dataclass(frozen=True, slots=True, eq=False)
class SeriesScore:
    """The network's answers on the slices of one series, summed up for the series."""

    smoothed: NDArray[np.float64]  # (n,) weighed and smoothed slice probabilities of a tumour
    smoothed_mimic: NDArray[np.float64]  # (n,) the same of a tumour mimic; 0 without such a class
    classes: Mapping[str, float]  # by the names of the model's card
    lesions: tuple[Lesion, ...]  # outlined by the decoder, those that the classifier supports
    coverage_mm: float  # along the slice axis

    @property
    def tumour(self) -> float:
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
    """Smooth the slice scores along the slice axis and look for lesions on the suspicious slices.

    ``names``: the classes of the model's card, in the order of ``predictions.classes``.
    """
    along_mm = slice_positions_mm(volume)[predictions.indices]
    weights = slice_weights(volume, sections, rule)[predictions.indices]
    smoothed = smooth(predictions.tumour * weights, along_mm, rule.smoothing_mm)
    smoothed_mimic = np.zeros_like(smoothed)
    if MIMIC in names:
        mimic = predictions.classes[:, names.index(MIMIC)] * weights
        smoothed_mimic = smooth(mimic, along_mm, rule.smoothing_mm)
    steps_mm = slice_steps_mm(along_mm, volume.thickness_mm)
    maps = suspicious_only(predictions.masks, smoothed >= rule.low)
    candidates = find_lesions(maps, rule.mask_level, map_pixel_mm2(volume, predictions.grid, maps), steps_mm)
    return SeriesScore(
        smoothed=smoothed,
        smoothed_mimic=smoothed_mimic,
        classes=series_classes(names, predictions.classes, smoothed, smoothed_mimic),
        lesions=tuple(
            lesion
            for lesion in candidates
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
    """The class probabilities of a series, by name.

    ``classes`` (n, 3): those of its slices, in the order of ``names``; ``smoothed`` and ``smoothed_mimic``
    (n,) as in ``SeriesScore``. With benign and malignant, the tumour head decides whether there is a tumour,
    and the class head only which of the two it is: none of the slices on which it learnt "healthy" came from
    a patient with a tumour. The deciding slices count by their score. With a mimic, which may lie beside a
    tumour on slices of its own, each of the two has the score of its own highest run; healthy is neither.
    """
    tumour = float(smoothed.max())
    if MIMIC in names:
        mimic = float(smoothed_mimic.max())
        return {HEALTHY: (1 - tumour) * (1 - mimic), MIMIC: mimic, TUMOUR: tumour}
    weights = np.where(smoothed >= DECIDING_SHARE * tumour, smoothed, 0.0)
    sums = dict(zip(names, map(float, (weights[:, None] * classes).sum(0)), strict=True))
    kinds = max(sums[BENIGN] + sums[MALIGNANT], float(np.finfo(float).tiny))
    return {HEALTHY: 1 - tumour} | {name: tumour * sums[name] / kinds for name in (BENIGN, MALIGNANT)}


def agrees(lesion: Lesion, smoothed: NDArray[np.float64], rule: StudyRule) -> bool:
    """Whether a lesion supports the classifier: large enough, on enough slices, one of them positive.

    ``smoothed`` (n,): the tumour scores of the slices.
    """
    return bool(
        lesion.volume_mm3 >= rule.lesion_mm3
        and len(lesion.rows) >= min(rule.lesion_slices, len(smoothed))
        and smoothed[lesion.rows].max() >= rule.high
    )


def cam_peak_share(lesion: Lesion, heat: NDArray[np.float32]) -> float:
    """Highest Grad-CAM value within a lesion, as a share of the highest in ``heat`` (n, fh, fw); 0..1."""
    rows, y, x = np.nonzero(lesion.region)
    coarse = heat.shape[1] / lesion.region.shape[1], heat.shape[2] / lesion.region.shape[2]
    inside = heat[rows, (y * coarse[0]).astype(int), (x * coarse[1]).astype(int)]
    return float(inside.max() / max(float(heat.max()), np.finfo(np.float32).tiny))


def suspicious_only(maps: NDArray[np.float32], suspicious: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Maps (n, h, w) of which those of unsuspicious slices (n,) are set to 0."""
    result: NDArray[np.float32] = maps * suspicious[:, None, None].astype(np.float32)
    return result


def slice_weights(volume: Volume, sections: Sections, rule: StudyRule) -> NDArray[np.float64]:
    """(slices,) weights of the slice scores: 1, ``rule.outer_weight`` on outer slices, 0 on blank ones.

    Outer slices lie near the vertex, at an end of the stack or below the skull base: they hold little brain,
    and most false alarms are on them. The skull base is taken to lie ``rule.brain_height_mm`` below the
    vertex, whose place is known only where the uppermost slice shows a small section; on CT, slices whose
    ring of bone is open have a small section too. As ``outer_weight`` lies below ``rule.high``, outer slices
    alone make no series positive.
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
    """Area in the patient of one pixel of maps (n, h, w) over the network's input."""
    row_mm, column_mm = grid.display.spacing_mm(volume.pixel_spacing_mm)
    height, width = maps.shape[1:]
    return float(grid.box.height_px / height * row_mm * grid.box.width_px / width * column_mm)


def applied_threshold(score: SeriesScore, rule: StudyRule) -> float:
    """The probability from which this series is PRESENT: ``high``, or ``certain`` without a lesion."""
    return rule.certain if score.tumour >= rule.high and not score.lesions else rule.high


def decide_series(score: SeriesScore, rule: StudyRule) -> tuple[Outcome, Reason]:
    """PRESENT, ABSENT or UNDETERMINED, and why."""
    tumour, probability = score.tumour, f"probability {percent(score.tumour)}"
    if tumour >= applied_threshold(score, rule):
        return Outcome.PRESENT, Reason(ReasonCode.TUMOUR, f"tumour on neighbouring slices, {probability}")
    if score.mimic >= rule.mimic:
        text = (
            "something looks wrong that may be no tumour but a bleed, an infarct or a clip: "
            f"probability {percent_beside(score.mimic, rule.mimic)}, "
            f"which counts from {percent(rule.mimic)} on"
        )
        return Outcome.UNDETERMINED, Reason(ReasonCode.LOOK_ALIKE, text)
    if tumour >= rule.high:
        text = (
            f"probability {percent_beside(tumour, rule.certain)} speaks of a tumour, but no lesion could be "
            f"outlined, and without one it takes {percent(rule.certain)}"
        )
        return Outcome.UNDETERMINED, Reason(ReasonCode.NO_SAFE_ANSWER, text)
    if tumour >= rule.low:
        nearest = min((rule.low, rule.high), key=lambda limit: abs(tumour - limit))
        text = (
            f"probability {percent_beside(tumour, nearest)} lies between {percent(rule.low)} (no tumour) "
            f"and {percent(rule.high)} (tumour)"
        )
        return Outcome.UNDETERMINED, Reason(ReasonCode.NO_SAFE_ANSWER, text)
    if score.coverage_mm < rule.coverage_mm:
        text = f"no tumour on the {score.coverage_mm:.0f} mm that were imaged, which is not the whole head"
        return Outcome.UNDETERMINED, Reason(ReasonCode.TOO_FEW_SLICES, text)
    return Outcome.ABSENT, Reason(ReasonCode.NO_TUMOUR, f"no tumour, {probability}")


def decide_study(series: Sequence[tuple[Outcome, Reason]]) -> tuple[Outcome, tuple[Reason, ...]]:
    """The outcome of a study and its reasons, from the outcome and reason of each stack.

    PRESENT beats UNDETERMINED beats ABSENT. A series without a tumour that shows only a part of the head
    counts where no other could be judged. Where none was judged at all, POOR_QUALITY beats NOT_ELIGIBLE. The
    reasons are those of all stacks with the study's outcome, each once.
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
        reasons = tuple(dict.fromkeys(reason for series_outcome, reason in rows if series_outcome is outcome))
        if reasons:
            return outcome, reasons
    return Outcome.NOT_ELIGIBLE, (Reason(ReasonCode.NO_HEAD_SERIES, "no series of a head to analyse"),)


def triage_of(outcome: Outcome, *, malignant: bool, mimic: bool) -> Triage:
    """How soon a radiologist should read the study.

    ``malignant``: the tumour looks malignant rather than benign; ``mimic``: a bleed, an infarct or a clip is
    suspected, with a tumour or without.
    """
    if outcome is Outcome.PRESENT:
        return Triage.URGENT if malignant or mimic else Triage.PRIORITY
    if outcome is Outcome.UNDETERMINED:
        return Triage.URGENT if mimic else Triage.PRIORITY
    return Triage.ROUTINE if outcome is Outcome.ABSENT else Triage.NONE
