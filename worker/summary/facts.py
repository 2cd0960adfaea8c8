"""The facts of an analysis: the only thing that a text is made of, and that may leave the worker."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from neurotriage.core.left_out import left_out_sentences
from neurotriage.core.second_opinion import Opinion
from neurotriage.core.values import (
    Analysis,
    Claims,
    Outcome,
    ReasonCode,
    Side,
    Triage,
)
from worker.first_look import FIRST_LOOK
from worker.results.wording import text

# Classes of a tumour, of which the more probable one is said.
KINDS: Final = ("benign", "malignant")


@dataclass(frozen=True, slots=True)
class LesionFact:
    """One lesion. ``number`` as on the overlays; slices are 1-based along their stack."""

    number: int
    modality: str
    series: int  # 1-based among the analysed series of this modality, in the order of the analysis
    series_of_modality: int  # how many were analysed
    side: Side
    size_mm: int  # largest extent in a slice
    first_slice: int
    last_slice: int
    slices_of_stack: int


@dataclass(frozen=True, slots=True)
class Probability:
    """The probability of a tumour, and the threshold that it was held against, in 0..1."""

    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a text may say of a study; its sentences round as all results do."""

    claims: Claims
    outcome: Outcome
    triage: Triage
    reasons: tuple[ReasonCode, ...]  # codes alone: a sentence may quote a header, or a rule of the site
    probability: Probability | None
    kind: str | None  # one of ``KINDS``, of a tumour that is present: the one that the triage rests on
    kind_share: float | None  # its share of the two
    look_alike: float | None  # probability, only where it may decide outcome or urgency
    lesions: tuple[LesionFact, ...]  # of the deciding series, largest first
    other_series_marked: int  # further series on which lesions are outlined
    modalities: tuple[str, ...]  # analysed
    missing: tuple[str, ...]  # of CT and MR
    series_analysed: int
    series_refused: int
    slices_analysed: int
    images_left_out: int
    notes: int  # further limitations that the results spell out
    models: tuple[str, ...]  # name and version
    first_look: bool  # more images of the study may follow
    earlier_outcome: Outcome | None  # of an earlier revision of the study
    opinion: Opinion | None = None  # of another model on pictures, where one was asked


def facts_of(analysis: Analysis, claims: Claims = Claims.RESEARCH, earlier: Outcome | None = None) -> Facts:
    """The facts that a text may rest on, within ``claims``.

    ``earlier``: the outcome of an earlier revision of the study.
    """
    research = claims is Claims.RESEARCH
    marked = research and analysis.outcome.marked
    outlined = {finding.series_instance_uid for finding in analysis.findings} if marked else set()
    said = {FIRST_LOOK, *left_out_sentences(analysis.left_out)}
    kind = _kind(analysis) if research and analysis.outcome is Outcome.PRESENT else None
    used = tuple(name for name in text.modalities_used(analysis) if name in text.MODALITIES)
    analysed = [item for item in analysis.series if item.outcome.analysed]
    return Facts(
        claims=claims,
        outcome=analysis.outcome,
        triage=analysis.triage,
        reasons=tuple(dict.fromkeys(reason.code for reason in analysis.reasons)),
        probability=_probability(analysis) if analysis.outcome.analysed else None,
        kind=kind[0] if kind else None,
        kind_share=kind[1] if kind else None,
        look_alike=text.mimic(analysis) if research else None,
        lesions=tuple(_lesions(analysis)) if marked else (),
        other_series_marked=max(len(outlined) - 1, 0),
        modalities=used,
        missing=tuple(modality for modality in text.MODALITIES if modality not in used),
        series_analysed=len({item.series_instance_uid for item in analysed}),
        series_refused=sum(not verdict.taken for verdict in analysis.verdicts),
        slices_analysed=sum(len(item.scores.tumour) for item in analysed),
        images_left_out=sum(item.count for item in analysis.left_out),
        notes=sum(note not in said for note in analysis.degradations),
        models=tuple(dict.fromkeys(f"{p.model} {p.version}" for p in analysis.predictions)),
        first_look=FIRST_LOOK in analysis.degradations,
        earlier_outcome=earlier,
    )


def _probability(analysis: Analysis) -> Probability | None:
    deciding = text.deciding_prediction(analysis)
    return None if deciding is None else Probability(deciding.probabilities[text.TUMOUR], deciding.threshold)


def _kind(analysis: Analysis) -> tuple[str, float] | None:
    """The kind of tumour and its share of both, by the rule of the triage.

    Malignant where a series with the study's outcome, or a prediction on the study, holds that for likelier.
    """
    decided = {(d.series_instance_uid, d.stack) for d in analysis.series if d.outcome is analysis.outcome}
    shares: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for p in analysis.predictions:
        own = p.series_instance_uid is None or (p.series_instance_uid, p.stack) in decided
        benign, malignant = (p.probabilities.get(kind, 0.0) for kind in KINDS)
        if own and benign != malignant:
            name = "malignant" if malignant > benign else "benign"
            shares[name].append(p.probabilities[name] / (benign + malignant))
    return next(((name, max(shares[name])) for name in ("malignant", "benign") if shares[name]), None)


def _lesions(analysis: Analysis) -> Iterator[LesionFact]:
    """The lesions of the deciding series, the largest first."""
    modality_of = {
        item.series_instance_uid: item.modality
        for item in analysis.verdicts
        if item.modality in text.MODALITIES  # a header may hold anything
    }
    analysed = dict.fromkeys(item.series_instance_uid for item in analysis.series if item.outcome.analysed)
    for largest in text.lesions(analysis):
        uid = largest.series_instance_uid
        modality = modality_of.get(uid, "?")
        alike = [other for other in analysed if modality_of.get(other, "?") == modality]
        slices = [
            finding.slice_index + 1
            for finding in analysis.findings
            if (finding.lesion, finding.series_instance_uid) == (largest.lesion, uid)
        ]
        yield LesionFact(
            number=largest.lesion,
            modality=modality,
            series=alike.index(uid) + 1 if uid in alike else 1,
            series_of_modality=max(len(alike), 1),
            side=largest.side,
            size_mm=round(largest.size_mm),
            first_slice=min(slices),
            last_slice=max(slices),
            slices_of_stack=text.slices_of_stack(analysis, largest),
        )
