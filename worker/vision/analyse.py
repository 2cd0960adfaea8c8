"""What analyses ask of the room: volumes in, the study's decision and its evidence out."""

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from neurotriage.core.evidence import Evidence
from neurotriage.core.values import Outcome, Prediction, ReasonCode, SeriesDecision, StudyDecision, Triage
from neurotriage.core.volume import Registration, Volume
from worker.vision.fusion import FusionResult, fuse, raised_by
from worker.vision.models import Models
from worker.vision.series.decide import BENIGN, MALIGNANT, decide_study, triage_of
from worker.vision.series.explain import MAX_KEPT, KeptSlices, build_evidence, key_row, rows_to_show
from worker.vision.series.judge import SeriesResult, judge, prediction_of
from worker.vision.slices.slice_axis import coverage_by_series_mm


def analyse_volumes(
    volumes: Sequence[Volume], models: Models, registrations: Sequence[Registration] = ()
) -> tuple[StudyDecision, Evidence]:
    """Judge all volumes of one study.

    Each volume ends PRESENT, ABSENT, UNDETERMINED, POOR_QUALITY or NOT_ELIGIBLE with a reason; the study's
    outcome follows by ``decide.decide_study``. Findings exist only where the study is PRESENT.
    CT and MR in one space, by their frame of reference or by ``registrations``, are judged together as well:
    that may make an undetermined series positive and a study more urgent, never the other way round.
    Raises BadWeights where a model cannot be loaded.
    """
    begun = perf_counter()
    several = len({volume.modality for volume in volumes}) > 1
    together_mm = coverage_by_series_mm(volumes)
    ends = [
        judge(volume, models, to_fuse=several, together_mm=together_mm[volume.series_instance_uid])
        for volume in volumes
    ]
    fused, apart = fuse([one for _, one in ends if one is not None], models, registrations)
    judged = [one for _, one in ends if one is not None]
    if fused is not None:
        judged = list(raised_by(fused, judged))
    judged = _numbered_on(judged)
    decisions = _ends([decision for decision, _ in ends], judged)
    outcome, reasons = decide_study([(row.outcome, row.reason) for row in decisions])
    deciding = [one for one in judged if one.outcome is outcome]
    key = max(deciding, key=_weight, default=None)
    predicted = perf_counter()
    evidence = _evidence(judged, key)
    study = StudyDecision(
        outcome=outcome,
        triage=_triage(outcome, judged, fused),
        reasons=reasons,
        findings=tuple(finding for one in judged for finding in one.marked.findings),
        predictions=(*_of_study(key, fused), *map(_of_series, judged)),
        series=decisions,
        degradations=(
            *models.degradations(),
            *dict.fromkeys(text for one in judged for text in one.degradations),
            *([apart] if apart else []),
        ),
        timings_s={"predict": predicted - begun, "explain": perf_counter() - predicted},
    )
    return study, evidence


def _ends(decisions: Sequence[SeriesDecision], judged: Sequence[SeriesResult]) -> tuple[SeriesDecision, ...]:
    """The decisions on the stacks, with what the fusion made of them."""
    ends = {one.key: (one.outcome, one.reason) for one in judged}
    rows = [(row, ends.get((row.series_instance_uid, row.stack))) for row in decisions]
    return tuple(row if end is None else replace(row, outcome=end[0], reason=end[1]) for row, end in rows)


def _numbered_on(judged: Sequence[SeriesResult]) -> list[SeriesResult]:
    """Lesions counted on from stack to stack of a series, so that a number means one lesion."""
    counted: dict[str, int] = {}
    result = {}
    for one in sorted(judged, key=lambda one: one.volume.stack):
        uid = one.volume.series_instance_uid
        before = counted.get(uid, 0)
        findings = tuple(replace(f, lesion=f.lesion + before) for f in one.marked.findings)
        counted[uid] = max((f.lesion for f in findings), default=before)
        result[one.key] = replace(one, marked=replace(one.marked, findings=findings))
    return [result[one.key] for one in judged]


def _evidence(judged: Sequence[SeriesResult], key: SeriesResult | None) -> Evidence:
    most = max(2, MAX_KEPT // max(1, len(judged)))
    shown = [
        KeptSlices(
            one.volume,
            one.predictions,
            rows_to_show(one.predictions, one.deciding, one.marked.findings, one.suspicious, most),
            one.marked.lesions,
            one.marked.level,
            one.found.smoothed,
            one.suspicious,
        )
        for one in judged
    ]
    if key is None:
        return build_evidence(shown, None)
    row = key_row(key.predictions, key.deciding, key.marked.findings)
    source = key.volume.sources[int(key.predictions.indices[row])]
    return build_evidence(shown, (source.sop_instance_uid, source.frame))


def _weight(one: SeriesResult) -> tuple[bool, float]:
    """By which the series is chosen that stands for the study: a possible bleed before a doubt."""
    return one.reason.code is ReasonCode.LOOK_ALIKE, float(one.deciding.max())


def _triage(outcome: Outcome, judged: Sequence[SeriesResult], fused: FusionResult | None) -> Triage:
    """By the worst that is said of the kind, by any series with the study's outcome or by the fusion."""
    said = [one.found.classes for one in judged if one.outcome is outcome]
    if not said:
        return Triage.NONE
    if fused is not None:
        said.append(fused.prediction.probabilities)
    return triage_of(
        outcome,
        malignant=any(kinds.get(MALIGNANT, 0.0) > kinds.get(BENIGN, 0.0) for kinds in said),
        mimic=any(one.mimic for one in judged),
    )


def _of_study(key: SeriesResult | None, fused: FusionResult | None) -> tuple[Prediction, ...]:
    """About the study: first what decided, then what was said besides."""
    alone = () if key is None else (prediction_of(key, None),)
    if fused is None:
        return alone
    decided = key is not None and key.raised
    return (fused.prediction, *alone) if decided else (*alone, fused.prediction)


def _of_series(one: SeriesResult) -> Prediction:
    return prediction_of(one, one.volume.series_instance_uid)
