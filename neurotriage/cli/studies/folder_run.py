"""The studies of a folder, from files to files: the work of ``neurotriage run``."""

import functools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from neurotriage.core.evidence import Evidence
from neurotriage.core.process.log import frames_of
from neurotriage.core.result_json import (
    ObjectState,
    PassedOver,
    passed_over_text,
    refusal_entry,
    study_entry,
)
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage, write_durably
from neurotriage.core.summary import Summary
from neurotriage.core.summary_text import summary_lines, summary_of
from neurotriage.core.values import Analysis, Reason, ReasonCode, ResultObject, StudyManifest
from neurotriage.dicom.manifest import FolderScan, scan_folder
from neurotriage.dicom.uids import RUN_INSTALLATION_UID
from worker.analysis import Selection, analyse, failure, select_series
from worker.results import Results, build, claimed, picture_of, report_text
from worker.routing import wanted_kinds
from worker.selection import SiteRules, read_rules
from worker.summary import tell
from worker.vision import Registry, read_registry

if TYPE_CHECKING:
    from worker.vision import Models

log = structlog.get_logger()


def run_folder(settings: Settings, folder: Path, out: Path) -> list[dict[str, Any]]:
    """Analyse the studies below ``folder``, write their results and ``result.json`` into ``out``.

    The kinds of object are those that any configured destination gets, the usual ones where there is none.

    Returns the entries of ``result.json``: one per study, or a single refusal where there is no study. Raises
    ``BadWeights`` before any work where the weights are missing or damaged, and ``ConfigurationError`` where
    the rules of the site cannot be used.
    """
    rules = read_rules(settings.selection.rules)
    registry = read_registry(settings.worker.weights)
    registry.verify_all()
    models = functools.cache(lambda: _models(settings, registry))
    scan = scan_folder(folder)
    passed_over = tuple((str(path.relative_to(folder)), reason) for path, reason in scan.unreadable)
    for name, reason in passed_over:
        # Without the reason's text, which may quote patient data from the header.
        log.warning("passed_over", file=name, code=reason.code)
    entries = [
        FolderRun(settings, out, study, registry, rules, models, passed_over).entry()
        for study in scan.studies
    ]
    if not entries:
        entries = [refusal_entry(_nothing_readable(scan), passed_over)]
    write_durably(out / "result.json", json.dumps(entries, indent=2).encode(), private=False)
    return entries


def _models(settings: Settings, registry: Registry) -> "Models":
    from worker.vision import models_for  # torch takes seconds to import

    return models_for(settings.worker, registry, Storage(settings.storage.root).engines)


def _nothing_readable(scan: FolderScan) -> Reason:
    if not scan.unreadable:
        return Reason(ReasonCode.NO_STUDY, "the folder holds no file")
    _, first = scan.unreadable[0]
    count = len(scan.unreadable)
    return Reason(
        ReasonCode.NO_STUDY, f"none of {count} files is a readable DICOM image; the first: {first.text}"
    )


def line(entry: dict[str, Any]) -> str:
    """An entry of ``result.json`` as a line for a terminal: study, outcome, reasons and kinds of result."""
    reasons = "; ".join(reason["text"] for reason in entry["reasons"])
    kinds = Counter(result["kind"] for result in entry["results"])
    made = ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in kinds.items())
    uid = entry["study_instance_uid"] or "(no study UID)"
    return f"{uid}  {entry['outcome']}  {reasons}  {f'[{made}]' if made else ''}".rstrip()


def told(entry: dict[str, Any]) -> list[str]:
    """The text about the study of an entry of ``result.json``, as lines for a terminal."""
    return [] if entry["summary"] is None else list(summary_lines(summary_of(entry["summary"])))


class FolderRun:
    """One study of a folder, from files to files."""

    def __init__(
        self,
        settings: Settings,
        out: Path,
        study: StudyManifest,
        registry: Registry,
        rules: SiteRules,
        models: "Callable[[], Models]",
        passed_over: Sequence[PassedOver] = (),
    ) -> None:
        self._registry = registry
        self._rules = rules
        self._models = models
        self._results = settings.results
        self._text = settings.summary
        self._kinds = wanted_kinds(settings.destination)
        self._out = out
        self._study = study
        self._passed_over = passed_over

    def entry(self) -> dict[str, Any]:
        """Analyse, write the objects, and return the entry of ``result.json``. A bug ends this study only."""
        selection = select_series(self._study, self._registry.eligibility, self._rules)
        now = datetime.now(UTC).astimezone()
        analysis: Analysis
        try:
            analysis, evidence = analyse(selection, self._registry.modalities, self._models, now)
            words = self._tell(analysis)
            results = self._build(analysis, evidence, selection, words)
        except Exception as error:  # noqa: BLE001 - a failure is the outcome of this study alone
            log.error(
                "analysis_failed",
                study_instance_uid=self._study.study_instance_uid,
                error=type(error).__name__,
                frames=frames_of(error),
            )
            reason = Reason(
                ReasonCode.INTERNAL_ERROR, f"the analysis failed: {type(error).__name__}: {error}"
            )
            analysis = failure(selection, reason, now)
            words = self._tell(analysis)
            results = self._build(analysis, Evidence(), selection, words)
        shown, _ = claimed(analysis, Evidence(), self._results.claims)
        summary = report_text(shown, words) + passed_over_text(self._passed_over)
        write_durably(self._out / self._place / "summary.txt", summary.encode(), private=False)
        reported = replace(analysis, omissions=results.omissions)
        written = [self._write(result) for result in results.objects]
        return study_entry(reported, written, passed_over=self._passed_over, summary=words)

    def _tell(self, analysis: Analysis) -> Summary:
        return tell(analysis, self._text, self._results.claims).summary

    def _build(self, analysis: Analysis, evidence: Evidence, selection: Selection, words: Summary) -> Results:
        return build(
            analysis,
            evidence,
            self._study,
            RUN_INSTALLATION_UID,
            claims=self._results.claims,
            kinds=self._kinds,
            labels=self._results.labels,
            overlay=self._results.overlay,
            images=selection.images,
            summary=words,
        )

    @property
    def _place(self) -> Path:
        """The study's folder below the output folder."""
        return Path(self._study.study_instance_uid or "no-study-uid")

    def _write(self, result: ResultObject) -> ObjectState:
        name = f"{result.kind.value}-{result.index:03d}"
        place = self._place
        write_durably(self._out / place / f"{name}.dcm", result.data, private=False)
        picture = picture_of(result)
        if picture is not None:
            write_durably(self._out / place / f"{name}.png", picture, private=False)
        return ObjectState(
            kind=result.kind.value,
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            path=str(place / f"{name}.dcm"),
            state="written",
        )
