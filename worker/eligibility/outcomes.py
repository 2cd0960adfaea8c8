"""The outcomes that refusals lead to: of a stack, and of a study in which nothing is analysed."""

from collections.abc import Sequence
from typing import Final

from neurotriage.core.values import Outcome, Reason, ReasonCode, SeriesVerdict

# How a stack ends that is refused at the network. What is no head, or no head that the network knows (by its
# pixels a knee may look like one), is not eligible; too little of a head, or no picture, is of poor quality.
OUTCOME_OF_STACK: Final = {
    ReasonCode.NOISE: Outcome.POOR_QUALITY,
    ReasonCode.NOT_A_HEAD: Outcome.NOT_ELIGIBLE,
    ReasonCode.OUT_OF_DISTRIBUTION: Outcome.NOT_ELIGIBLE,
    ReasonCode.TOO_FEW_SLICES: Outcome.POOR_QUALITY,
}
# A refusal for one of these says something of a study in which nothing could be analysed, whatever the
# header speaks of ...
_OUTCOMES: Final = {
    ReasonCode.NO_CALIBRATION: Outcome.UNDETERMINED,
    ReasonCode.HEADER_CONTRADICTS_PIXELS: Outcome.UNDETERMINED,
    ReasonCode.MISSING_IMAGES: Outcome.INCOMPLETE,
    ReasonCode.NOISE: Outcome.POOR_QUALITY,
}
# ... and these only where it speaks of a head, or the pixels show one: one slice of an unnamed part is no
# head of poor quality, and what the network has never seen the like of may be a knee.
_OUTCOMES_OF_A_HEAD: Final = {
    ReasonCode.TOO_FEW_SLICES: Outcome.POOR_QUALITY,
    ReasonCode.TOO_COARSE: Outcome.POOR_QUALITY,
    ReasonCode.UNREADABLE_PIXELS: Outcome.POOR_QUALITY,
    ReasonCode.NO_GEOMETRY: Outcome.POOR_QUALITY,
    ReasonCode.INCONSISTENT_GEOMETRY: Outcome.POOR_QUALITY,
    ReasonCode.SAME_PLACE: Outcome.POOR_QUALITY,
    ReasonCode.SAME_UID: Outcome.POOR_QUALITY,
    ReasonCode.OUT_OF_DISTRIBUTION: Outcome.POOR_QUALITY,
}
# A series refused for one of these may show a slice of the head that nothing else shows.
# What a series is refused for that lacks something and may show a head all the same.
LACKING: Final = frozenset({
    ReasonCode.TOO_FEW_SLICES, ReasonCode.MISSING_IMAGES, ReasonCode.UNREADABLE_PIXELS,
    ReasonCode.NO_CALIBRATION, ReasonCode.NO_GEOMETRY, ReasonCode.INCONSISTENT_GEOMETRY,
    ReasonCode.SAME_PLACE, ReasonCode.SAME_UID, ReasonCode.OUT_OF_DISTRIBUTION,
})  # fmt: skip
# What was refused for these may be a head all the same, though the study is not of poor quality: others
# tell more, no model is there for it, or the header speaks of a head that the pixels do not show.
_NAMED: Final = frozenset({ReasonCode.LOWER_RANK, ReasonCode.NO_MODEL})
_NAMED_OF_A_HEAD: Final = frozenset({ReasonCode.NOT_A_HEAD})
# Series refused for these were looked at.
_JUDGED: Final = frozenset({ReasonCode.NOT_A_HEAD, ReasonCode.OUT_OF_DISTRIBUTION, ReasonCode.NOISE})
_URGENCY: Final = (Outcome.UNDETERMINED, Outcome.INCOMPLETE, Outcome.POOR_QUALITY)


def outcome_of_refusals(verdicts: Sequence[SeriesVerdict]) -> tuple[Outcome, tuple[Reason, ...]]:
    """The outcome of a study of which no series could be analysed, and its reasons without repeats.

    Of several outcomes the gravest counts: undetermined, incomplete, poor quality, not eligible. The reasons
    are those of the series that decided; for a study that is not eligible, of all its series.
    """
    ends = [(_outcome(verdict), verdict.reason) for verdict in verdicts]
    for outcome in _URGENCY:
        reasons = [reason for end, reason in ends if end is outcome]
        if reasons:
            return outcome, _without_repeats(reasons)
    reasons = [reason for _, reason in ends]
    # A head that no model can read is a head all the same.
    without_model = [reason for reason in reasons if reason.code is ReasonCode.NO_MODEL]
    if without_model:
        return Outcome.NOT_ELIGIBLE, _without_repeats(without_model)
    # Nor is a head that the site does not want analysed.
    by_site = [reason for reason in reasons if reason.code is ReasonCode.REFUSED_BY_SITE]
    if by_site:
        return Outcome.NOT_ELIGIBLE, _without_repeats([*by_site, *reasons])
    none = Reason(ReasonCode.NO_HEAD_SERIES, "the study has no CT or MR series of a head to analyse")
    return Outcome.NOT_ELIGIBLE, (none, *_without_repeats(reasons))


def not_looked_at(verdicts: Sequence[SeriesVerdict]) -> tuple[str, ...]:
    """A sentence per series that may show a head and was not analysed.

    Other series decide such a study; an answer that does not name these would be a silent negative.
    """
    return tuple(
        f"series {verdict.series_instance_uid} was not "
        f"{'analysed' if verdict.reason.code in _JUDGED else 'looked at'}: {verdict.reason.text}"
        for verdict in verdicts
        if not verdict.taken and _may_be_a_head(verdict)
    )


def outranked(verdicts: Sequence[SeriesVerdict]) -> dict[str, Reason]:
    """By UID, the reason of series that may be analysed, but for others that tell more."""
    return {v.series_instance_uid: v.reason for v in verdicts if v.reason.code is ReasonCode.LOWER_RANK}


def lacking(verdicts: Sequence[SeriesVerdict]) -> dict[str, Reason]:
    """By UID, why series that may show a head were refused: for what they lack, not for what they show."""
    return {
        verdict.series_instance_uid: verdict.reason
        for verdict in verdicts
        if not verdict.taken
        and verdict.reason.code in LACKING
        and _outcome(verdict) is not Outcome.NOT_ELIGIBLE
    }


def _may_be_a_head(verdict: SeriesVerdict) -> bool:
    code = verdict.reason.code
    named = code in _NAMED or (verdict.head_meant and code in _NAMED_OF_A_HEAD)
    return named or _outcome(verdict) is not Outcome.NOT_ELIGIBLE


def _outcome(verdict: SeriesVerdict) -> Outcome:
    outcome = _OUTCOMES.get(verdict.reason.code)
    if outcome is None and (verdict.head_meant or verdict.head_seen):
        outcome = _OUTCOMES_OF_A_HEAD.get(verdict.reason.code)
    return outcome or Outcome.NOT_ELIGIBLE


def _without_repeats(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(reasons))
