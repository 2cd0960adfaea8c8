"""The results for people: tables, pictures as PNG, the report as text."""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image
from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table

from db.queries import StudyHistory
from neurotriage.core.summary import Summary
from neurotriage.core.summary_text import summary_lines
from neurotriage.demo.report_text import report_lines
from neurotriage.demo.studies import SampleStudy
from neurotriage.demo.truth import Box

_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_REPORT: Final = "1.2.840.10008.5.1.4.1.1.88.34"
_SHOWN_LINES: Final = 24  # of a report, so that the demo stays readable
_HOPS: Final = ("received", "ready", "analysed", "stored")


def outcome_table(known: StudyHistory) -> Table:
    """Outcome, reasons, each series' verdict and the time of each hop."""
    row = known.row
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_row("outcome", f"[bold]{row['outcome']}[/]  (triage {row['triage']})")
    table.add_row("why", row["reasons"] or "")
    for verdict in known.verdicts:
        word = "taken" if verdict["taken"] else "refused"
        name = verdict["description"] or verdict["series_instance_uid"]
        table.add_row(f"series {word}", f"{verdict['modality']} {name}: {verdict['reason']}")
    for hop in _HOPS:
        at = row[f"{hop}_at"]
        if at is not None:
            table.add_row(hop, f"{at:%H:%M:%S}  (+{(at - row['received_at']).total_seconds():.1f} s)")
    return table


def print_text(summary: Summary | None, console: Console) -> None:
    """The text about a study, with headings and origin."""
    for line in [] if summary is None else summary_lines(summary):
        console.print(f"  {line}", highlight=False, markup=False)


def progress(row: Mapping[str, Any] | None) -> str:
    """The progress of a study in a few words, from its row of ``study_results`` if there is one."""
    if row is None:
        return "on its way"
    if row["outcome"] is None:
        return f"{row['state']} ({row['instances']} instances)" if row["state"] == "open" else row["state"]
    return f"{row['outcome']}, {row['deliveries_stored']} of {row['deliveries']} objects stored"


def write_results(objects: Sequence[Dataset], folder: Path, console: Console) -> None:
    """Write the results of a study, pictures as PNG, reports as text; print the start of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [dataset for dataset in objects if dataset.SOPClassUID == _SECONDARY_CAPTURE]
    for dataset in pictures:
        name = f"{dataset.SeriesNumber}-{int(dataset.InstanceNumber):03d}.png"
        buffer = BytesIO()
        Image.fromarray(dataset.pixel_array).save(buffer, "PNG")
        (folder / name).write_bytes(buffer.getvalue())
    console.print(f"  pictures: {len(pictures)} as PNG in {folder}")
    for dataset in objects:
        if dataset.SOPClassUID == _REPORT:
            _write_report(dataset, folder / "report.txt", console)


def _write_report(dataset: Dataset, path: Path, console: Console) -> None:
    lines = list(report_lines(dataset))
    path.write_text("\n".join(lines) + "\n")
    console.print("  the Structured Report begins:")
    for line in lines[:_SHOWN_LINES]:
        console.print(f"    {line}", highlight=False, markup=False)
    console.print(f"    ... {max(0, len(lines) - _SHOWN_LINES)} more lines in {path}")


def truth(sample: SampleStudy, known: StudyHistory) -> str:
    """A sentence on whether the findings lie on the lesion that was put in."""
    if not sample.lesion_box_by_sop:
        return "  no lesion was put into this study"
    findings = known.analysis.findings if known.analysis is not None else ()
    slices = len(sample.lesion_box_by_sop)
    if not findings:
        return f"  a lesion was put into {slices} slices of this study; the analysis made no finding"
    boxes = {**sample.lesion_box_by_sop, **sample.abnormality_box_by_sop}
    hits = [f for f in findings if f.sop_instance_uid in boxes and _inside(f.box, boxes[f.sop_instance_uid])]
    covered = {finding.sop_instance_uid for finding in hits} & set(sample.lesion_box_by_sop)
    return (
        f"  truth: {len(hits)} of {len(findings)} finding boxes lie on the lesion that was put in; "
        f"{len(covered)} of its {slices} slices have one"
    )


def _inside(finding: Box, lesion: Box) -> bool:
    """Whether the centre of the finding lies in the lesion's box."""
    x, y = (finding[0] + finding[2]) / 2, (finding[1] + finding[3]) / 2
    return lesion[0] <= x <= lesion[2] and lesion[1] <= y <= lesion[3]


def database_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """A table of rows of the view ``study_results``."""
    table = Table("study", "state", "outcome", "triage", "tumour", "findings", "stored")
    for row in rows:
        probability = row["tumour_probability"]
        table.add_row(
            f"...{row['study_instance_uid'][-8:]}",
            row["state"],
            row["outcome"],
            row["triage"],
            "" if probability is None else f"{probability:.3f}",
            str(row["findings"]),
            f"{row['deliveries_stored']} of {row['deliveries']}",
        )
    return table
