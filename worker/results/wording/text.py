"""The titles and sentences that every result shows, derived from an analysis."""

import re
from collections import Counter
from dataclasses import dataclass

from neurotriage.core.second_opinion import Opinion
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
from neurotriage.core.wording import percent as percent  # results import it from here

RESEARCH_NOTICE = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS"
RELEVANCE_NOTICE = "model relevance, not tumour extent"
MIMIC_NAME = "Bleed, infarct or clip"  # possible tumour mimics
MAX_LESIONS_SHOWN = 3  # of a study, in sentences and pictures
TRIAGE_ONLY_SENTENCE = "The model suspects a tumour. Where it may be and of what kind is not reported."
MODALITIES = ("CT", "MR")
TUMOUR = "tumour"  # keys of probabilities in a prediction
MIMIC = "look_alike"

_SERIES_UID = re.compile(r"series (\d+(?:\.\d+)+)")
_SIDES = {Side.LEFT: "left", Side.RIGHT: "right", Side.MIDLINE: "midline"}


@dataclass(frozen=True, slots=True)
class OutcomeTitle:
    """The outcome in a few words, legible in a thumbnail, and the rest of the phrase."""

    headline: str
    rest: str = ""
    joint: str = ""  # between the two in running text

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
    """The title of an outcome, the same on every result."""
    return _VERDICTS[outcome]


def beside_threshold(probability: float, threshold: float) -> str:
    """``threshold 75 %``, or ``just below the threshold`` where both round to the same percentage.

    Probability and threshold in 0..1.
    """
    if percent(probability) != percent(threshold):
        return f"threshold {percent(threshold)}"
    return f"just {'below' if probability < threshold else 'above'} the threshold"


def deciding_prediction(analysis: Analysis) -> Prediction | None:
    """The prediction with the deciding tumour probability; None where no model gave one.

    The first for the whole study, else that of the highest probability of a series.
    """
    of_tumour = [p for p in analysis.predictions if TUMOUR in p.probabilities]
    of_study = [p for p in of_tumour if p.series_instance_uid is None]
    if of_study:
        return of_study[0]
    return max(of_tumour, key=lambda p: p.probabilities[TUMOUR], default=None)


def prediction_for(analysis: Analysis, series_instance_uid: str, stack: int = 1) -> Prediction | None:
    """The tumour prediction for a stack (1-based) of a series, else the deciding one; None without either."""
    own = [
        p
        for p in analysis.predictions
        if (p.series_instance_uid, p.stack) == (series_instance_uid, stack) and TUMOUR in p.probabilities
    ]
    return own[0] if own else deciding_prediction(analysis)


def mimic(analysis: Analysis) -> float | None:
    """The probability (0..1) of a tumour mimic where it decides outcome or urgency; else None."""
    mimics = [p.probabilities[MIMIC] for p in analysis.predictions if MIMIC in p.probabilities]
    outcome = any(reason.code is ReasonCode.LOOK_ALIKE for reason in analysis.reasons)
    urgency = analysis.outcome is Outcome.PRESENT and analysis.triage is Triage.URGENT
    return max(mimics, default=None) if outcome or urgency else None


def lesions(analysis: Analysis) -> tuple[Finding, ...]:
    """One finding per lesion of the deciding series, that of the largest ``size_mm``; largest lesion first.

    The deciding series is that of the highest tumour probability; empty where nothing was outlined.
    """
    scores: dict[str | None, float] = {}
    for p in analysis.predictions:
        scores[p.series_instance_uid] = max(
            scores.get(p.series_instance_uid, 0.0), p.probabilities.get(TUMOUR, 0.0)
        )
    deciding_uid = max(
        (f.series_instance_uid for f in analysis.findings), key=lambda uid: scores.get(uid, 0.0), default=None
    )
    largest: dict[int, Finding] = {}
    for finding in analysis.findings:
        known = largest.get(finding.lesion)
        if finding.series_instance_uid == deciding_uid and (known is None or finding.size_mm > known.size_mm):
            largest[finding.lesion] = finding
    return tuple(sorted(largest.values(), key=lambda finding: (-finding.size_mm, finding.lesion)))


def main_finding(analysis: Analysis) -> Finding | None:
    """The finding of the largest ``size_mm`` in the deciding series; None if nothing was outlined."""
    return next(iter(lesions(analysis)), None)


def summary(analysis: Analysis, claims: Claims = Claims.RESEARCH) -> str:
    """The summary of a study in one or two sentences, within ``claims``; never empty."""
    if analysis.outcome is Outcome.PRESENT:
        return _present(analysis) if claims is Claims.RESEARCH else TRIAGE_ONLY_SENTENCE
    if analysis.outcome is Outcome.ABSENT:
        return f"{_coverage(analysis)} This does not rule out disease."
    return " ".join(_sentence(reason.text) for reason in analysis.reasons) or "No reason was recorded."


def extent(analysis: Analysis, outlines: int) -> str:
    """A sentence on the number of slices with findings, if only ``outlines`` are drawn; else empty."""
    if outlines >= len(analysis.findings):
        return ""
    modality_of = {item.series_instance_uid: item.modality for item in analysis.verdicts}
    slices = {
        (modality_of.get(f.series_instance_uid, "?"), f.sop_instance_uid, f.frame) for f in analysis.findings
    }
    by_modality = Counter(modality for modality, _, _ in slices)
    apart = ", ".join(f"{count} of {modality}" for modality, count in sorted(by_modality.items()))
    where = f" ({apart})" if len(by_modality) > 1 else ""
    return (
        f"Findings are seen on {counted(len(slices), 'slice')}{where}; "
        f"this report outlines {outlines} of {len(analysis.findings)}."
    )


def notes(analysis: Analysis) -> str:
    """The degradations of an analysis as sentences, series by description instead of UID; else empty."""
    names = {item.series_instance_uid: _series_name(item) for item in analysis.verdicts}

    def name(match: re.Match[str]) -> str:
        return names.get(match[1], "a series")

    return " ".join(f"Note: {_sentence(_SERIES_UID.sub(name, note))}" for note in analysis.degradations)


def _series_name(item: SeriesVerdict) -> str:
    """``the MR series AX FLAIR``."""
    return f"the {item.modality} series {item.description}" if item.description else "a series"


def nothing_marked(analysis: Analysis, claims: Claims) -> str:
    """The reason for which no image of a study is marked, as in an ``Omission``."""
    if not analysis.outcome.analysed:
        return "the study was not analysed"
    if claims is Claims.TRIAGE_ONLY:
        return "the claims are triage-only"
    if analysis.outcome is Outcome.ABSENT:
        return "nothing was found"
    return "the model marked or outlined nothing"


def nothing_shown(analysis: Analysis) -> str:
    """The reason for which a report has no image to refer to, as in an ``Omission``."""
    if not analysis.outcome.analysed:
        return "the study was not analysed"
    return "no image of the analysed series can be read"


def modalities_used(analysis: Analysis) -> tuple[str, ...]:
    """The modalities of the analysed series, sorted; empty where none was analysed."""
    modality_of = {item.series_instance_uid: item.modality for item in analysis.verdicts}
    judged = (item.series_instance_uid for item in analysis.series if item.outcome.analysed)
    return tuple(sorted({modality_of[uid] for uid in judged if uid in modality_of}))


def modalities_words(analysis: Analysis) -> str:
    """``CT and MR``, or ``MR, no CT``; empty where no series was analysed."""
    used = modalities_used(analysis)
    missing = [modality for modality in MODALITIES if modality not in used]
    return ", ".join(filter(None, (" and ".join(used), " ".join(f"no {m}" for m in missing)))) if used else ""


def modalities_sentence(analysis: Analysis) -> str:
    """The modalities used and those missing, as a sentence; empty where no series was analysed."""
    words = modalities_words(analysis)
    return " ".join(filter(None, (f"Modalities used: {words}." if words else "", fused_sentence(analysis))))


def fused_sentence(analysis: Analysis) -> str:
    """The fused probability, and that without either modality; empty without a fused prediction."""
    for p in analysis.predictions:
        if p.left_out and TUMOUR in p.probabilities:
            return f"Judged together: {percent(p.probabilities[TUMOUR])}; {without_each(p)}."
    return ""


def without_each(prediction: Prediction) -> str:
    """``without the CT 80 %, without the MR 60 %``: the fused probability without each modality."""
    return ", ".join(f"without the {name} {percent(value)}" for name, value in prediction.left_out.items())


def highest_by_modality(analysis: Analysis) -> str:
    """``Highest of a series: CT 91 %, MR 98 %``; empty where no series has a tumour probability."""
    highest: dict[str, float] = {}
    for p in analysis.predictions:
        if p.series_instance_uid is not None and TUMOUR in p.probabilities:
            highest[p.modality] = max(highest.get(p.modality, 0.0), p.probabilities[TUMOUR])
    words = ", ".join(f"{modality} {percent(highest[modality])}" for modality in sorted(highest))
    return f"Highest of a series: {words}" if words else ""


def probability_sentence(analysis: Analysis) -> str:
    """The deciding probability with its threshold; empty where no model gave one."""
    prediction = deciding_prediction(analysis)
    if prediction is None:
        return ""
    shown = percent_beside(prediction.probabilities[TUMOUR], prediction.threshold)
    alike = mimic(analysis)
    other = "" if alike is None else f" {MIMIC_NAME}: {percent(alike)}."
    return f"Probability of tumour {shown} (threshold {percent(prediction.threshold)}).{other}"


def opinion_words(opinion: Opinion) -> str:
    """A second opinion in few words: ``tumour, 80 %``."""
    words = opinion.verdict.value.replace("_", " ")
    return words if opinion.tumour is None else f"{words}, {percent(opinion.confidence)}"


def model_names(analysis: Analysis) -> str:
    """``mr-tumour 1.0.0, mr-class 1.0.0``, the deciding model first; empty without a prediction."""
    deciding = deciding_prediction(analysis)
    ordered = sorted(analysis.predictions, key=lambda p: (p is not deciding, p.model, p.version))
    return ", ".join(dict.fromkeys(f"{p.model} {p.version}" for p in ordered))


def place_words(finding: Finding) -> str:
    """Side and size of a finding: ``left, 38 mm``."""
    return f"{_SIDES[finding.side]}, {finding.size_mm:.0f} mm"


def _present(analysis: Analysis) -> str:
    outlined = lesions(analysis)
    if not outlined:
        return "Tumour suspected by the model; no outline could be drawn."
    if len(outlined) == 1:
        return f"One suspected lesion {_where(analysis, outlined[0])}."
    places = "; ".join(
        f"{_where(analysis, finding)} (lesion {finding.lesion})" for finding in outlined[:MAX_LESIONS_SHOWN]
    )
    more = len(outlined) - MAX_LESIONS_SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    return f"{len(outlined)} suspected lesions: {places}{rest}."


def _where(analysis: Analysis, finding: Finding) -> str:
    """``on the left, 38 mm across, on slices 8-12 of 25``."""
    same = [
        f
        for f in analysis.findings
        if (f.lesion, f.series_instance_uid) == (finding.lesion, finding.series_instance_uid)
    ]
    first, last = min(f.slice_index for f in same) + 1, max(f.slice_index for f in same) + 1
    slices = f"slice {first}" if first == last else f"slices {first}-{last}"
    count = slices_of_stack(analysis, finding)
    side = "in the midline" if finding.side is Side.MIDLINE else f"on the {_SIDES[finding.side]}"
    return f"{side}, {finding.size_mm:.0f} mm across, on {slices}{f' of {count}' if count else ''}"


def slices_of_stack(analysis: Analysis, finding: Finding) -> int:
    """The number of slices in the stack of a finding; 0 where no decision lists them."""
    own = [item for item in analysis.series if item.series_instance_uid == finding.series_instance_uid]
    image = finding.sop_instance_uid, finding.frame
    for item in own:
        if image in {(source.sop_instance_uid, source.frame) for source in item.slices}:
            return len(item.slices)
    return len(own[0].scores.tumour) if len(own) == 1 else 0


def _coverage(analysis: Analysis) -> str:
    stacks = [item for item in analysis.series if item.outcome.analysed]
    slices = sum(len(stack.scores.tumour) for stack in stacks)
    series = len({stack.series_instance_uid for stack in stacks})
    if not slices:
        return "No tumour found by the model."
    return f"No tumour found by the model on {counted(slices, 'slice')} of {series} series."


def _sentence(text: str) -> str:
    """A reason with a capital first letter and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
