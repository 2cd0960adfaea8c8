"""The sentences: what an outcome is called, what is said of a study, and the plain-text report."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from neurotriage.core.values import Analysis, Claims, Finding, Outcome, Prediction, SeriesVerdict, Side
from neurotriage.core.wording import counted

RESEARCH_NOTICE = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS"
RELEVANCE_NOTICE = "model relevance, not tumour extent"
TRIAGE_ONLY_SENTENCE = "The model suspects a tumour. Where it may be and of what kind is not reported."
MODALITIES = ("CT", "MR")
TUMOUR = "tumour"  # key of the tumour probability in a prediction

_SERIES_UID = re.compile(r"series \d+(\.\d+)+")
_SIDES = {Side.LEFT: "left", Side.RIGHT: "right", Side.MIDLINE: "midline"}


@dataclass(frozen=True, slots=True)
class Verdict:
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
    Outcome.PRESENT: Verdict("TUMOUR SUSPECTED"),
    Outcome.ABSENT: Verdict("NO TUMOUR FOUND", "BY THE MODEL", " "),
    Outcome.UNDETERMINED: Verdict("UNDETERMINED", "NO SAFE ANSWER", ": "),
    Outcome.POOR_QUALITY: Verdict(_NOT_ANALYSED, "POOR QUALITY", ": "),
    Outcome.INCOMPLETE: Verdict(_NOT_ANALYSED, "IMAGES MISSING", ": "),
    Outcome.NOT_ELIGIBLE: Verdict(_NOT_ANALYSED, "NOT ELIGIBLE", ": "),
    Outcome.FAILED: Verdict(_NOT_ANALYSED, "SOFTWARE FAILURE", ": "),
}


def verdict(outcome: Outcome) -> Verdict:
    """What an outcome is called on every result."""
    return _VERDICTS[outcome]


def percent(probability: float) -> str:
    """A probability for readers: one decimal, and never a certainty that no model has."""
    if probability < 0.001:
        return "< 0.1 %"
    if probability > 0.999:
        return "> 99.9 %"
    return f"{100 * probability:.1f} %"


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


def main_finding(analysis: Analysis) -> Finding | None:
    """The largest lesion at its largest extent, of the series that decided; None if nothing was outlined."""
    scores = {
        p.series_uid: p.probabilities[TUMOUR] for p in analysis.predictions if TUMOUR in p.probabilities
    }
    surest = max(
        (f.series_uid for f in analysis.findings), key=lambda uid: scores.get(uid, 0.0), default=None
    )
    own = [finding for finding in analysis.findings if finding.series_uid == surest]
    return min(own, key=lambda finding: (finding.lesion, -finding.size_mm), default=None)


def lesion_count(analysis: Analysis) -> int:
    """How many lesions, each on one or more slices."""
    return len({finding.lesion for finding in analysis.findings})


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
    """What was not done as it should be, in sentences; series are not named by their UIDs."""
    texts = (_SERIES_UID.sub("a series", text) for text in analysis.degradations)
    return " ".join(f"Note: {_sentence(text)}" for text in texts)


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
    return " ".join(filter(None, (f"Modalities used: {words}." if words else "", together(analysis))))


def together(analysis: Analysis) -> str:
    """What CT and MR say together and with either left out; empty where they were not judged together."""
    for p in analysis.predictions:
        if p.left_out and TUMOUR in p.probabilities:
            return f"Judged together: {percent(p.probabilities[TUMOUR])}; {_without(p)}."
    return ""


def _without(prediction: Prediction) -> str:
    return ", ".join(f"without the {name} {percent(value)}" for name, value in prediction.left_out.items())


def apart(analysis: Analysis) -> str:
    """What the series of each modality say by themselves: ``Highest of a series: CT 91.2 %, MR 97.8 %``."""
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
    return (
        f"Probability of tumour {percent(prediction.probabilities[TUMOUR])} "
        f"(threshold {percent(prediction.threshold)})."
    )


def model_names(analysis: Analysis) -> str:
    """The models with their versions, the one that decided first: ``mr-tumour 1.0.0, mr-class 1.0.0``."""
    deciding = deciding_prediction(analysis)
    ordered = sorted(analysis.predictions, key=lambda p: (p is not deciding, p.model, p.version))
    return ", ".join(dict.fromkeys(f"{p.model} {p.version}" for p in ordered))


def place_words(finding: Finding) -> str:
    """``left, 38 mm``."""
    return f"{_SIDES[finding.side]}, {finding.size_mm:.0f} mm"


def report_text(analysis: Analysis) -> str:
    """The whole result as plain text, for a terminal."""
    return "\n".join(_report_lines(analysis)) + "\n"


def _report_lines(analysis: Analysis) -> Iterator[str]:
    yield verdict(analysis.outcome).title
    yield summary(analysis)
    sentence = probability_sentence(analysis)
    if sentence:
        yield sentence
    yield ""
    study = analysis.study_instance_uid or "(no Study Instance UID)"
    yield f"Study      {study}, revision {analysis.revision}"
    yield f"Analysed   {analysis.analysed_at.isoformat(timespec='seconds')}"
    yield f"Triage     {analysis.triage.value}"
    if words := modalities_words(analysis):
        yield f"Used       {words}"
    for prediction in analysis.predictions:
        values = ", ".join(f"{name} {percent(value)}" for name, value in prediction.probabilities.items())
        yield f"Model      {prediction.model} {prediction.version} ({prediction.engine}, {prediction.device})"
        yield f"           {values}; threshold {percent(prediction.threshold)}"
        if prediction.left_out:
            yield f"           tumour {_without(prediction)}"
    for finding in analysis.findings:
        frame = "" if finding.frame is None else f", frame {finding.frame}"
        yield (
            f"Finding    lesion {finding.lesion}, slice {finding.slice_index + 1}{frame}: "
            f"{place_words(finding)}, {percent(finding.probability)}"
        )
    for item in analysis.verdicts:
        yield _verdict_line(item)
    for degradation in analysis.degradations:
        yield f"Note       {degradation}"
    yield ""
    yield RESEARCH_NOTICE


def _verdict_line(item: SeriesVerdict) -> str:
    state = "analysed" if item.taken else "refused"
    name = f"{item.modality} {item.description}".strip() or "without description"
    return f"Series     {state}: {name}: {item.reason.text}"


def _present(analysis: Analysis) -> str:
    finding = main_finding(analysis)
    if finding is None:
        return "Tumour suspected by the model; no outline could be drawn."
    same = [f for f in analysis.findings if (f.lesion, f.series_uid) == (finding.lesion, finding.series_uid)]
    first, last = min(f.slice_index for f in same) + 1, max(f.slice_index for f in same) + 1
    slices = f"slice {first}" if first == last else f"slices {first}-{last}"
    where = "in the midline" if finding.side is Side.MIDLINE else f"on the {_SIDES[finding.side]}"
    words = f"{where}, {finding.size_mm:.0f} mm across, on {slices}."
    count = lesion_count(analysis)
    return (
        f"One suspected lesion {words}" if count == 1 else f"{count} suspected lesions, the largest {words}"
    )


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
