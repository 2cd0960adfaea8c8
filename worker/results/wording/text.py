"""The sentences: what an outcome is called, what is said of a study, and the plain-text report."""

import re
from collections import Counter
from dataclasses import dataclass

from neurotriage.core.values import (
    Analysis,
    Claims,
    Finding,
    Outcome,
    Prediction,
    ReasonCode,
    SeriesVerdict,
    Side,
    Triage,
)
from neurotriage.core.wording import counted, percent_beside
from neurotriage.core.wording import percent as percent  # for all that results say

RESEARCH_NOTICE = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS"
RELEVANCE_NOTICE = "model relevance, not tumour extent"
LOOK_ALIKE_NAME = "Bleed, infarct or clip"  # what a look-alike may be
MAX_LESIONS_SHOWN = 3  # of a study, in sentences and pictures
TRIAGE_ONLY_SENTENCE = "The model suspects a tumour. Where it may be and of what kind is not reported."
MODALITIES = ("CT", "MR")
TUMOUR = "tumour"  # keys of probabilities in a prediction
LOOK_ALIKE = "look_alike"

_SERIES_UID = re.compile(r"series (\d+(?:\.\d+)+)")
_SIDES = {Side.LEFT: "left", Side.RIGHT: "right", Side.MIDLINE: "midline"}


@dataclass(frozen=True, slots=True)
class OutcomeTitle:
    """The outcome in words large enough for a thumbnail, and the rest of the phrase."""

    headline: str
    rest: str = ""
    joint: str = ""  # what stands between the two in running text

    @property
    def title(self) -> str:
        """The whole phrase: ``NOT ANALYSED: IMAGES MISSING``."""
        return f"{self.headline}{self.joint}{self.rest}"


_NOT_ANALYSED = "NOT ANALYSED"
_VERDICTS = {
    Outcome.PRESENT: OutcomeTitle("TUMOUR SUSPECTED"),
    Outcome.ABSENT: OutcomeTitle("NO TUMOUR FOUND", "BY THE MODEL", " "),
    Outcome.UNDETERMINED: OutcomeTitle("UNDETERMINED", "NO SAFE ANSWER", ": "),
    Outcome.POOR_QUALITY: OutcomeTitle(_NOT_ANALYSED, "POOR QUALITY", ": "),
    Outcome.INCOMPLETE: OutcomeTitle(_NOT_ANALYSED, "IMAGES MISSING", ": "),
    Outcome.NOT_ELIGIBLE: OutcomeTitle(_NOT_ANALYSED, "NOT ELIGIBLE", ": "),
    Outcome.FAILED: OutcomeTitle(_NOT_ANALYSED, "SOFTWARE FAILURE", ": "),
}


def verdict(outcome: Outcome) -> OutcomeTitle:
    """What an outcome is called on every result."""
    return _VERDICTS[outcome]


def beside_threshold(probability: float, threshold: float) -> str:
    """``threshold 75 %``; where the probability reads the same, on which side of it that lies."""
    if percent(probability) != percent(threshold):
        return f"threshold {percent(threshold)}"
    return f"just {'below' if probability < threshold else 'above'} the threshold"


def deciding_prediction(analysis: Analysis) -> Prediction | None:
    """The prediction that speaks of a tumour: the first about the study, else the highest of the series."""
    speaking = [p for p in analysis.predictions if TUMOUR in p.probabilities]
    about_study = [p for p in speaking if p.series_uid is None]
    if about_study:
        return about_study[0]
    return max(speaking, key=lambda p: p.probabilities[TUMOUR], default=None)


def prediction_for(analysis: Analysis, series_uid: str, stack: int = 1) -> Prediction | None:
    """The prediction about a stack of a series, else the one that decided."""
    own = [
        p
        for p in analysis.predictions
        if (p.series_uid, p.stack) == (series_uid, stack) and TUMOUR in p.probabilities
    ]
    return own[0] if own else deciding_prediction(analysis)


def look_alike(analysis: Analysis) -> float | None:
    """The probability that something else looks wrong, where it decides outcome or urgency; else None."""
    told = [p.probabilities[LOOK_ALIKE] for p in analysis.predictions if LOOK_ALIKE in p.probabilities]
    outcome = any(reason.code is ReasonCode.LOOK_ALIKE for reason in analysis.reasons)
    urgency = analysis.outcome is Outcome.PRESENT and analysis.triage is Triage.URGENT
    return max(told, default=None) if outcome or urgency else None


def lesions(analysis: Analysis) -> tuple[Finding, ...]:
    """Each lesion of the series that decided, at its largest extent, the largest first."""
    scores: dict[str | None, float] = {}
    for p in analysis.predictions:
        scores[p.series_uid] = max(scores.get(p.series_uid, 0.0), p.probabilities.get(TUMOUR, 0.0))
    surest = max(
        (f.series_uid for f in analysis.findings), key=lambda uid: scores.get(uid, 0.0), default=None
    )
    largest: dict[int, Finding] = {}
    for finding in analysis.findings:
        known = largest.get(finding.lesion)
        if finding.series_uid == surest and (known is None or finding.size_mm > known.size_mm):
            largest[finding.lesion] = finding
    return tuple(sorted(largest.values(), key=lambda finding: (-finding.size_mm, finding.lesion)))


def main_finding(analysis: Analysis) -> Finding | None:
    """The largest lesion at its largest extent; None if nothing was outlined."""
    return next(iter(lesions(analysis)), None)


def summary(analysis: Analysis, claims: Claims = Claims.RESEARCH) -> str:
    """What a reader should know of the study, in one or two sentences."""
    if analysis.outcome is Outcome.PRESENT:
        return _present(analysis) if claims is Claims.RESEARCH else TRIAGE_ONLY_SENTENCE
    if analysis.outcome is Outcome.ABSENT:
        return f"{_coverage(analysis)} This does not rule out disease."
    return " ".join(_sentence(reason.text) for reason in analysis.reasons) or "No reason was recorded."


def extent(analysis: Analysis, outlines: int) -> str:
    """On how many slices findings are seen, where only ``outlines`` of them are drawn; else empty."""
    if outlines >= len(analysis.findings):
        return ""
    modality_of = {item.series_instance_uid: item.modality for item in analysis.verdicts}
    slices = {(modality_of.get(f.series_uid, "?"), f.sop_instance_uid, f.frame) for f in analysis.findings}
    by_modality = Counter(modality for modality, _, _ in slices)
    apart = ", ".join(f"{count} of {modality}" for modality, count in sorted(by_modality.items()))
    where = f" ({apart})" if len(by_modality) > 1 else ""
    return (
        f"Findings are seen on {counted(len(slices), 'slice')}{where}; "
        f"this report outlines {outlines} of {len(analysis.findings)}."
    )


def notes(analysis: Analysis) -> str:
    """What was not looked at or not done as it should be, in sentences; series by their descriptions."""
    names = {item.series_instance_uid: _series_name(item) for item in analysis.verdicts}

    def name(match: re.Match[str]) -> str:
        return names.get(match[1], "a series")

    return " ".join(f"Note: {_sentence(_SERIES_UID.sub(name, told))}" for told in analysis.degradations)


def _series_name(item: SeriesVerdict) -> str:
    """``the MR series AX FLAIR``."""
    return f"the {item.modality} series {item.description}" if item.description else "a series"


def nothing_marked(analysis: Analysis, claims: Claims) -> str:
    """Why no image of a study can be marked."""
    if not analysis.outcome.analysed:
        return "the study was not analysed"
    if claims is Claims.TRIAGE_ONLY:
        return "the claims are triage-only"
    if analysis.outcome is Outcome.ABSENT:
        return "nothing was found"
    return "the model marked or outlined nothing"


def nothing_shown(analysis: Analysis) -> str:
    """Why there is no image of a study to point at."""
    if not analysis.outcome.analysed:
        return "the study was not analysed"
    return "no image of the analysed series can be read"


def modalities_used(analysis: Analysis) -> tuple[str, ...]:
    """Of the series that a model judged."""
    modality_of = {item.series_instance_uid: item.modality for item in analysis.verdicts}
    judged = (item.series_instance_uid for item in analysis.series if item.outcome.analysed)
    return tuple(sorted({modality_of[uid] for uid in judged if uid in modality_of}))


def modalities_words(analysis: Analysis) -> str:
    """``CT and MR``, or ``MR, no CT``; empty where nothing was judged."""
    used = modalities_used(analysis)
    missing = [modality for modality in MODALITIES if modality not in used]
    return ", ".join(filter(None, (" and ".join(used), " ".join(f"no {m}" for m in missing)))) if used else ""


def modalities_sentence(analysis: Analysis) -> str:
    """What the answer rests on, and what it lacks; empty where nothing was judged."""
    words = modalities_words(analysis)
    return " ".join(filter(None, (f"Modalities used: {words}." if words else "", fused_sentence(analysis))))


def fused_sentence(analysis: Analysis) -> str:
    """What CT and MR say together and with either left out; empty where they were not judged together."""
    for p in analysis.predictions:
        if p.left_out and TUMOUR in p.probabilities:
            return f"Judged together: {percent(p.probabilities[TUMOUR])}; {without_each(p)}."
    return ""


def without_each(prediction: Prediction) -> str:
    """What a score of several modalities is without each of them."""
    return ", ".join(f"without the {name} {percent(value)}" for name, value in prediction.left_out.items())


def highest_by_modality(analysis: Analysis) -> str:
    """What the series of each modality say by themselves: ``Highest of a series: CT 91 %, MR 98 %``."""
    highest: dict[str, float] = {}
    for p in analysis.predictions:
        if p.series_uid is not None and TUMOUR in p.probabilities:
            highest[p.modality] = max(highest.get(p.modality, 0.0), p.probabilities[TUMOUR])
    words = ", ".join(f"{modality} {percent(highest[modality])}" for modality in sorted(highest))
    return f"Highest of a series: {words}" if words else ""


def probability_sentence(analysis: Analysis) -> str:
    """Probability beside the threshold that it was held against; empty where no model spoke."""
    prediction = deciding_prediction(analysis)
    if prediction is None:
        return ""
    shown = percent_beside(prediction.probabilities[TUMOUR], prediction.threshold)
    alike = look_alike(analysis)
    other = "" if alike is None else f" {LOOK_ALIKE_NAME}: {percent(alike)}."
    return f"Probability of tumour {shown} (threshold {percent(prediction.threshold)}).{other}"


def model_names(analysis: Analysis) -> str:
    """The models with their versions, the one that decided first: ``mr-tumour 1.0.0, mr-class 1.0.0``."""
    deciding = deciding_prediction(analysis)
    ordered = sorted(analysis.predictions, key=lambda p: (p is not deciding, p.model, p.version))
    return ", ".join(dict.fromkeys(f"{p.model} {p.version}" for p in ordered))


def place_words(finding: Finding) -> str:
    """``left, 38 mm``."""
    return f"{_SIDES[finding.side]}, {finding.size_mm:.0f} mm"


def _present(analysis: Analysis) -> str:
    found = lesions(analysis)
    if not found:
        return "Tumour suspected by the model; no outline could be drawn."
    if len(found) == 1:
        return f"One suspected lesion {_where(analysis, found[0])}."
    told = "; ".join(
        f"{_where(analysis, finding)} (lesion {finding.lesion})" for finding in found[:MAX_LESIONS_SHOWN]
    )
    more = len(found) - MAX_LESIONS_SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    return f"{len(found)} suspected lesions: {told}{rest}."


def _where(analysis: Analysis, finding: Finding) -> str:
    """``on the left, 38 mm across, on slices 8-12 of 25``."""
    same = [f for f in analysis.findings if (f.lesion, f.series_uid) == (finding.lesion, finding.series_uid)]
    first, last = min(f.slice_index for f in same) + 1, max(f.slice_index for f in same) + 1
    slices = f"slice {first}" if first == last else f"slices {first}-{last}"
    count = _slices_of_stack(analysis, finding)
    side = "in the midline" if finding.side is Side.MIDLINE else f"on the {_SIDES[finding.side]}"
    return f"{side}, {finding.size_mm:.0f} mm across, on {slices}{f' of {count}' if count else ''}"


def _slices_of_stack(analysis: Analysis, finding: Finding) -> int:
    """How many slices the stack of a finding has; 0 where no decision tells."""
    own = [item for item in analysis.series if item.series_instance_uid == finding.series_uid]
    image = finding.sop_instance_uid, finding.frame
    for item in own:
        if image in {(source.sop_instance_uid, source.frame) for source in item.slices}:
            return len(item.slices)
    return len(own[0].scores.tumour) if len(own) == 1 else 0


def _coverage(analysis: Analysis) -> str:
    slices = sum(len(item.scores.tumour) for item in analysis.series if item.outcome.analysed)
    series = sum(item.outcome.analysed for item in analysis.series)
    if not slices:
        return "No tumour found by the model."
    return f"No tumour found by the model on {counted(slices, 'slice')} of {series} series."


def _sentence(text: str) -> str:
    """Reasons become sentences: a capital first and a full stop last."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
