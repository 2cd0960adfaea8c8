"""A whole result as plain text, for ``summary.txt`` and the terminal."""

from collections.abc import Iterator, Mapping

from neurotriage.core.summary import Summary
from neurotriage.core.summary_text import summary_lines
from neurotriage.core.values import Analysis, Prediction, SeriesVerdict
from neurotriage.core.wording import date_and_time
from worker.results.wording import text


def report_text(analysis: Analysis, summary: Summary | None = None) -> str:
    """Outcome, the text about it, predictions, findings, series verdicts and degradations, as lines."""
    return "\n".join(_report_lines(analysis, summary)) + "\n"


def _report_lines(analysis: Analysis, summary: Summary | None) -> Iterator[str]:
    yield text.verdict(analysis.outcome).title
    yield text.summary(analysis)
    sentence = text.probability_sentence(analysis)
    if sentence:
        yield sentence
    yield ""
    if summary is not None:
        yield from summary_lines(summary)
        yield ""
    study = analysis.study_instance_uid or "(no Study Instance UID)"
    yield f"Study      {study}, revision {analysis.revision}"
    yield f"Analysed   {date_and_time(analysis.analysed_at)}"
    yield f"Triage     {analysis.triage.value}"
    if words := text.modalities_words(analysis):
        yield f"Used       {words}"
    names = {item.series_instance_uid: _series_name(item) for item in analysis.verdicts}
    for prediction in analysis.predictions:
        values = ", ".join(
            f"{name} {text.percent(value)}" for name, value in prediction.probabilities.items()
        )
        subject = _subject(prediction, names)
        yield (
            f"Model      {prediction.model} {prediction.version} "
            f"({prediction.engine}, {prediction.device}), of {subject}"
        )
        yield f"           {values}; threshold {text.percent(prediction.threshold)}"
        if prediction.left_out:
            yield f"           tumour {text.without_each(prediction)}"
    for finding in analysis.findings:
        frame = "" if finding.frame is None else f", frame {finding.frame}"
        yield (
            f"Finding    {names.get(finding.series_instance_uid, 'a series')}: "
            f"lesion {finding.lesion}, slice {finding.slice_index + 1}{frame}: "
            f"{text.place_words(finding)}; slice alone {text.percent(finding.probability)}"
        )
    for item in analysis.verdicts:
        yield _verdict_line(item)
    for degradation in analysis.degradations:
        yield f"Note       {degradation}"
    yield ""
    yield text.RESEARCH_NOTICE


def _verdict_line(item: SeriesVerdict) -> str:
    state = "analysed" if item.taken else "refused"
    return f"Series     {state}: {_series_name(item)}: {item.reason.text}"


def _series_name(item: SeriesVerdict) -> str:
    return f"{item.modality} {item.description}".strip() or "without description"


def _subject(prediction: Prediction, names: Mapping[str, str]) -> str:
    """The subject of a prediction: ``the study``, ``CT HEAD, stack 2``."""
    if prediction.series_instance_uid is None:
        return "the study"
    stack = "" if prediction.stack == 1 else f", stack {prediction.stack}"
    return f"{names.get(prediction.series_instance_uid, 'a series')}{stack}"
