"""Which series of a study are analysed, and what a study without one ends as."""

from collections.abc import Sequence
from typing import Final

from neurotriage.core.values import Outcome, Reason, ReasonCode, SeriesVerdict, StudyManifest
from neurotriage.core.wording import counted
from worker.selection.body import BodyPart, body_part
from worker.selection.facts import SeriesFacts, read_facts
from worker.selection.ranking import MAX_SERIES, chosen
from worker.selection.rules import refusal_of

# A refusal for one of these says something of a study in which nothing could be analysed, whatever the
# header speaks of ...
_OUTCOMES: Final = {
    ReasonCode.NO_CALIBRATION: Outcome.UNDETERMINED,
    ReasonCode.HEADER_CONTRADICTS_PIXELS: Outcome.UNDETERMINED,
    ReasonCode.MISSING_IMAGES: Outcome.INCOMPLETE,
    ReasonCode.NOISE: Outcome.POOR_QUALITY,
}
# ... and these only where it speaks of a head: one slice of an unnamed part is no head of poor quality,
# and what the model has never seen the like of may be a knee.
_OUTCOMES_OF_A_HEAD: Final = {
    ReasonCode.TOO_FEW_SLICES: Outcome.POOR_QUALITY,
    ReasonCode.TOO_COARSE: Outcome.POOR_QUALITY,
    ReasonCode.UNREADABLE_PIXELS: Outcome.POOR_QUALITY,
    ReasonCode.NO_GEOMETRY: Outcome.POOR_QUALITY,
    ReasonCode.INCONSISTENT_GEOMETRY: Outcome.POOR_QUALITY,
    ReasonCode.OUT_OF_DISTRIBUTION: Outcome.POOR_QUALITY,
}
_URGENCY: Final = (Outcome.UNDETERMINED, Outcome.INCOMPLETE, Outcome.POOR_QUALITY)


def select(study: StudyManifest) -> tuple[SeriesVerdict, ...]:
    """A verdict for each series, in the manifest's order, by its headers alone.

    Series with ``taken`` are to be built, looked at and analysed. Never raises for bad input.
    """
    facts = [read_facts(series) for series in study.series]
    return verdicts_of(facts)


def verdicts_of(facts: Sequence[SeriesFacts]) -> tuple[SeriesVerdict, ...]:
    """``select`` for headers already read."""
    refusals = {id(one): refusal_of(one) for one in facts}
    kept = chosen([one for one in facts if refusals[id(one)] is None])
    verdicts: list[SeriesVerdict] = []
    for one in facts:
        refusal = refusals[id(one)]
        if refusal is not None:
            verdicts.append(_verdict(one, refusal.reason, refusal.evidence))
        elif one.series_instance_uid in kept:
            verdicts.append(_taken(one))
        else:
            text = f"eligible, but {MAX_SERIES} series of the study tell more"
            verdicts.append(_verdict(one, Reason(ReasonCode.LOWER_RANK, text), f"{one.sequence} series"))
    return tuple(verdicts)


def outcome_of_refusals(verdicts: Sequence[SeriesVerdict]) -> tuple[Outcome, tuple[Reason, ...]]:
    """What a study ends as when no series of it could be analysed.

    Of several the gravest counts: undetermined, incomplete, poor quality, not eligible. The reasons are
    those of the series that decided; for a study that is not eligible, of all its series.
    """
    found = [(_outcome(verdict), verdict.reason) for verdict in verdicts]
    for outcome in _URGENCY:
        reasons = [reason for own, reason in found if own is outcome]
        if reasons:
            return outcome, _without_repeats(reasons)
    reasons = [reason for _, reason in found]
    # A head that no model can read is a head all the same.
    without_model = [reason for reason in reasons if reason.code is ReasonCode.NO_MODEL]
    if without_model:
        return Outcome.NOT_ELIGIBLE, _without_repeats(without_model)
    none = Reason(ReasonCode.NO_HEAD_SERIES, "the study has no CT or MR series of a head to analyse")
    return Outcome.NOT_ELIGIBLE, (none, *_without_repeats(reasons))


def not_looked_at(verdicts: Sequence[SeriesVerdict]) -> tuple[str, ...]:
    """Sentences on the series that may show a head, but not whole or not well enough to be analysed.

    Other series decide such a study; an answer without a word of these would be a silent negative.
    """
    return tuple(
        f"series {verdict.series_instance_uid} was not looked at: {verdict.reason.text}"
        for verdict in verdicts
        if not verdict.taken and _outcome(verdict) is not Outcome.NOT_ELIGIBLE
    )


def _outcome(verdict: SeriesVerdict) -> Outcome:
    outcome = _OUTCOMES.get(verdict.reason.code)
    if outcome is None and verdict.head_meant:
        outcome = _OUTCOMES_OF_A_HEAD.get(verdict.reason.code)
    return outcome or Outcome.NOT_ELIGIBLE


def _without_repeats(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(reasons))


def _taken(facts: SeriesFacts) -> SeriesVerdict:
    _, evidence = body_part(facts)
    text = f"{counted(len(facts.frames), f'{facts.modality} image')} ({facts.sequence})"
    return _verdict(facts, Reason(ReasonCode.ELIGIBLE, text), evidence or "no tag names a part of the body")


def _verdict(facts: SeriesFacts, reason: Reason, evidence: str) -> SeriesVerdict:
    return SeriesVerdict(
        series_instance_uid=facts.series_instance_uid,
        modality=facts.modality,
        description=facts.texts.get("SeriesDescription", ""),
        taken=reason.code is ReasonCode.ELIGIBLE,
        reason=reason,
        evidence=evidence,
        head_meant=facts.modality in ("CT", "MR") and body_part(facts)[0] is BodyPart.HEAD,
    )
