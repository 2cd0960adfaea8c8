"""Limits an analysis to what results may claim: what is removed here cannot appear in any object."""

from dataclasses import replace

from neurotriage.core.evidence import Evidence
from neurotriage.core.values import Analysis, Claims, Prediction, SeriesDecision, SliceScores
from worker.results.wording import text


def claimed(analysis: Analysis, evidence: Evidence, claims: Claims) -> tuple[Analysis, Evidence]:
    """The analysis and evidence that results may show under ``claims``.

    ``triage-only`` keeps outcome, urgency, reasons and the probability of a tumour. It removes findings,
    classes, heat maps, masks, and slice scores, which would single out a slice.
    """
    if claims is Claims.RESEARCH:
        return analysis, evidence
    verdict = replace(
        analysis,
        findings=(),
        predictions=tuple(_without_classes(prediction) for prediction in analysis.predictions),
        series=tuple(_without_scores(series) for series in analysis.series),
    )
    return verdict, Evidence()


def _without_classes(prediction: Prediction) -> Prediction:
    kept = {name: value for name, value in prediction.probabilities.items() if name == text.TUMOUR}
    return replace(prediction, probabilities=kept)


def _without_scores(series: SeriesDecision) -> SeriesDecision:
    """All scores 0; their number stays, because results state how many slices were analysed."""
    level = (0.0,) * len(series.scores.tumour)
    return replace(series, scores=SliceScores(level, level))
