"""``result.json``: an analysis, its objects and their deliveries, as other programs read them.

Later versions only add keys. The fields are documented in ``docs/data-dictionary.md``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from neurotriage.core.summary import Summary
from neurotriage.core.summary_text import summary_entry
from neurotriage.core.values import (
    Analysis,
    Finding,
    LeftOut,
    Outcome,
    Prediction,
    Reason,
    ReasonCode,
    SeriesVerdict,
    Triage,
)
from neurotriage.core.wording import counted

_UNTIL_ANALYSED: Final = {  # by the state of a study, or of its revision
    "open": "images still arrive",
    "quiet": "complete; nothing of it waits to be analysed",
    "ready": "complete; it waits for an analysis worker",
    "analysing": "a worker analyses it",
    "withdrawn": "its results were withdrawn; it is analysed anew once it is complete",
}
# A folder may hold very many files that are no DICOM.
_MAX_NAMED: Final = 100
_MAX_IN_TEXT: Final = 5
# A file of a folder that is no readable DICOM: its path below the folder, and the reason.
PassedOver = tuple[str, Reason]
_LISTS: Final = (
    "predictions", "findings", "series", "results", "left_out", "omissions", "degradations", "passed_over",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ObjectState:
    """One result object and its state."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    path: str
    state: str  # "written" by ``run``; the state of its delivery elsewhere
    destination: str | None = None


def study_entry(
    analysis: Analysis,
    objects: Sequence[ObjectState],
    timings_s: Mapping[str, float] | None = None,
    passed_over: Sequence[PassedOver] = (),
    summary: Summary | None = None,
) -> dict[str, Any]:
    """One study as plain JSON values, with the text about it where one was made.

    ``timings_s`` adds the times between the stages around the analysis, ``passed_over`` the files of its
    folder that are no readable DICOM, and may have been a part of it.
    """
    return {
        "study_instance_uid": analysis.study_instance_uid,
        "revision": analysis.revision,
        "outcome": analysis.outcome.value,
        "reasons": _reasons(analysis),
        "triage": analysis.triage.value,
        "summary": None if summary is None else summary_entry(summary),
        "predictions": [_prediction(prediction) for prediction in analysis.predictions],
        "findings": [_finding(finding) for finding in analysis.findings],
        "series": [_verdict(verdict) for verdict in analysis.verdicts],
        "results": [
            {
                "kind": item.kind,
                "sop_class_uid": item.sop_class_uid,
                "sop_instance_uid": item.sop_instance_uid,
                "path": item.path,
                "state": item.state,
                "destination": item.destination,
            }
            for item in objects
        ],
        "left_out": [_left_out(item) for item in analysis.left_out],
        "omissions": [{"kind": item.kind.value, "text": item.text} for item in analysis.omissions],
        "degradations": list(analysis.degradations),
        "passed_over": _passed_over(passed_over),
        "analysed_at": analysis.analysed_at.isoformat(),
        "software_version": analysis.software_version,
        "timings_s": {**analysis.timings_s, **(timings_s or {})},
    }


def refusal_entry(reason: Reason, passed_over: Sequence[PassedOver] = ()) -> dict[str, Any]:
    """The entry of a folder without any study; ``passed_over`` as for ``study_entry``."""
    return {
        "study_instance_uid": None,
        "revision": 1,
        "outcome": Outcome.NOT_ELIGIBLE.value,
        "reasons": [{"code": reason.code.value, "text": reason.text}],
        "triage": Triage.NONE.value,
        "summary": None,
        **{key: [] for key in _LISTS},
        "passed_over": _passed_over(passed_over),
        "timings_s": {},
    }


def passed_over_text(files: Sequence[PassedOver]) -> str:
    """A line for a text beside ``result.json`` that names the first of these files; empty without any."""
    if not files:
        return ""
    named = "; ".join(f"{name} ({reason.text})" for name, reason in files[:_MAX_IN_TEXT])
    more = f"; and {len(files) - _MAX_IN_TEXT} more" if len(files) > _MAX_IN_TEXT else ""
    verb = "is" if len(files) == 1 else "are"
    return f"Note: {counted(len(files), 'file')} of the folder {verb} no readable DICOM: {named}{more}.\n"


def unanalysed_entry(row: Mapping[str, Any], timings_s: Mapping[str, float]) -> dict[str, Any]:
    """The entry of a study without an analysis, from its ``row`` of the view ``study_results``."""
    return {
        "study_instance_uid": row["study_instance_uid"],
        "revision": row["revision"],
        "outcome": row["outcome"],
        "state": row["state"],
        "reasons": [_why_unanalysed(row)],
        "triage": row["triage"],
        "summary": None,
        **{key: [] for key in _LISTS},
        "timings_s": dict(timings_s),
    }


def _why_unanalysed(row: Mapping[str, Any]) -> dict[str, str]:
    if row["outcome"] is not None:  # given up without even a page
        code, text = ReasonCode.ATTEMPTS_EXHAUSTED, f"the analysis failed {row['attempts']} times"
    else:
        code, text = ReasonCode.NOT_ANALYSED_YET, _UNTIL_ANALYSED[row["state"]]
    return {"code": code.value, "text": text}


def _passed_over(files: Sequence[PassedOver]) -> list[dict[str, Any]]:
    """The first of these files; a last entry without a name says how many more there are."""
    named: list[tuple[str | None, Reason]] = list(files[:_MAX_NAMED])
    if len(files) > _MAX_NAMED:
        named.append((None, Reason(ReasonCode.NOT_DICOM, f"{len(files) - _MAX_NAMED} more files")))
    return [{"file": name, "reason": {"code": r.code.value, "text": r.text}} for name, r in named]


def _reasons(analysis: Analysis) -> list[dict[str, str]]:
    return [{"code": reason.code.value, "text": reason.text} for reason in analysis.reasons]


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {
        "model": prediction.model,
        "version": prediction.version,
        "sha256": prediction.sha256,
        "modality": prediction.modality,
        "series_uid": prediction.series_instance_uid,
        "stack": prediction.stack,
        "probabilities": {name: round(value, 4) for name, value in prediction.probabilities.items()},
        "threshold": prediction.threshold,
        "engine": prediction.engine,
        "device": prediction.device,
        "left_out": {name: round(value, 4) for name, value in prediction.left_out.items()},
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "lesion": finding.lesion,
        "series_uid": finding.series_instance_uid,
        "sop_instance_uid": finding.sop_instance_uid,
        "frame": finding.frame,
        "slice_index": finding.slice_index,
        "box": list(finding.box),
        "size_mm": round(finding.size_mm, 1),
        "side": finding.side.value,
        "probability": round(finding.probability, 4),
    }


def _left_out(item: LeftOut) -> dict[str, Any]:
    return {
        "series_uid": item.series_instance_uid,
        "reason": {"code": item.reason.code.value, "text": item.reason.text},
        "count": item.count,
    }


def _verdict(verdict: SeriesVerdict) -> dict[str, Any]:
    return {
        "series_uid": verdict.series_instance_uid,
        "modality": verdict.modality,
        "description": verdict.description,
        "taken": verdict.taken,
        "reason": {"code": verdict.reason.code.value, "text": verdict.reason.text},
        "evidence": verdict.evidence,
        **({"rule": verdict.rule} if verdict.rule else {}),
    }
