"""From the volumes of a study to the decision on it and the evidence."""

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
    """Judge all volumes (stacks) of one study.

    Each volume ends PRESENT, ABSENT, UNDETERMINED, POOR_QUALITY or NOT_ELIGIBLE with a reason; the study's
    outcome follows by ``decide.decide_study``. Findings exist only where the study is PRESENT.
    CT and MR in one space, by their frame of reference or by ``registrations``, are also judged together,
    which may make an undetermined series positive and a study more urgent, never the reverse.
    Raises BadWeights where a model cannot be loaded.
    """
    begun = perf_counter()
    to_fuse = len({volume.modality for volume in volumes}) > 1
    together_mm = coverage_by_series_mm(volumes)
    results = [
        judge(volume, models, to_fuse=to_fuse, together_mm=together_mm[volume.series_instance_uid])
        for volume in volumes
    ]
    judged = [result for _, result in results if result is not None]
    fused, not_fused = fuse(judged, models, registrations)
    if fused is not None:
        judged = list(raised_by(fused, judged))
    judged = _with_lesions_numbered(judged)
    decisions = _final_decisions([decision for decision, _ in results], judged)
    outcome, reasons = decide_study([(decision.outcome, decision.reason) for decision in decisions])
    deciding = [result for result in judged if result.outcome is outcome]
    key = max(deciding, key=_weight, default=None)
    predicted = perf_counter()
    evidence = _evidence(judged, key)
    study = StudyDecision(
        outcome=outcome,
        triage=_triage(outcome, judged, fused),
        reasons=reasons,
        findings=tuple(finding for result in judged for finding in result.outlined.findings),
        predictions=(*_of_study(key, fused), *map(_of_series, judged)),
        series=decisions,
        degradations=(
            *models.degradations(),
            *dict.fromkeys(text for result in judged for text in result.degradations),
            *([not_fused] if not_fused else []),
        ),
        timings_s={"predict": predicted - begun, "explain": perf_counter() - predicted},
    )
    return study, evidence


def _final_decisions(
    decisions: Sequence[SeriesDecision], judged: Sequence[SeriesResult]
) -> tuple[SeriesDecision, ...]:
    """The decisions on the stacks; of those judged, with the outcome that the fusion may have changed."""
    by_key = {result.key: result for result in judged}
    pairs = [(decision, by_key.get((decision.series_instance_uid, decision.stack))) for decision in decisions]
    return tuple(
        decision if result is None else replace(decision, outcome=result.outcome, reason=result.reason)
        for decision, result in pairs
    )


def _with_lesions_numbered(judged: Sequence[SeriesResult]) -> list[SeriesResult]:
    """Lesions numbered through all stacks of a series, so that a number stands for one lesion."""
    counted: dict[str, int] = {}
    numbered = {}
    for result in sorted(judged, key=lambda result: result.volume.stack):
        uid = result.volume.series_instance_uid
        before = counted.get(uid, 0)
        findings = tuple(replace(f, lesion=f.lesion + before) for f in result.outlined.findings)
        counted[uid] = max((f.lesion for f in findings), default=before)
        numbered[result.key] = replace(result, outlined=replace(result.outlined, findings=findings))
    return [numbered[result.key] for result in judged]


def _evidence(judged: Sequence[SeriesResult], key: SeriesResult | None) -> Evidence:
    most = max(2, MAX_KEPT // max(1, len(judged)))
    kept = [
        KeptSlices(
            result.volume,
            result.predictions,
            rows_to_show(
                result.predictions, result.deciding, result.outlined.findings, result.suspicious, most
            ),
            result.outlined.maps,
            result.outlined.level,
            result.score.smoothed,
            result.suspicious,
        )
        for result in judged
    ]
    if key is None:
        return build_evidence(kept, None)
    row = key_row(key.predictions, key.deciding, key.outlined.findings)
    source = key.volume.sources[int(key.predictions.indices[row])]
    return build_evidence(kept, (source.sop_instance_uid, source.frame))


def _weight(result: SeriesResult) -> tuple[bool, float]:
    """Sort key of the series that stands for the study: a suspected mimic comes before a mere doubt."""
    return result.reason.code is ReasonCode.LOOK_ALIKE, float(result.deciding.max())


def _triage(outcome: Outcome, judged: Sequence[SeriesResult], fused: FusionResult | None) -> Triage:
    """A tumour is malignant where one series with the study's outcome, or the fusion, calls it so."""
    classes = [result.score.classes for result in judged if result.outcome is outcome]
    if not classes:
        return Triage.NONE
    if fused is not None:
        classes.append(fused.prediction.probabilities)
    return triage_of(
        outcome,
        malignant=any(kinds.get(MALIGNANT, 0.0) > kinds.get(BENIGN, 0.0) for kinds in classes),
        mimic=any(result.mimic for result in judged),
    )


def _of_study(key: SeriesResult | None, fused: FusionResult | None) -> tuple[Prediction, ...]:
    """The predictions on the study, first the one that decided."""
    alone = () if key is None else (prediction_of(key, None),)
    if fused is None:
        return alone
    decided = key is not None and key.raised
    return (fused.prediction, *alone) if decided else (*alone, fused.prediction)


def _of_series(result: SeriesResult) -> Prediction:
    return prediction_of(result, result.volume.series_instance_uid)
