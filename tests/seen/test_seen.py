"""What a reader sees of our results when a study is opened in OHIF in front of Orthanc."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom import Dataset, dcmread
from sqlalchemy import Engine

from db.studies.objects import WrittenObject
from neurotriage.core.settings import Settings
from neurotriage.core.storage import write_durably
from neurotriage.core.values import Outcome, ResultKind, ResultObject
from neurotriage.demo.send import send
from neurotriage.embedded.process import LOOPBACK
from tests.db.rows import analysed, claimed, ready_revision
from tests.seen.pacs import AE_TITLE, Pacs
from tests.seen.studies import CASES, ViewerCase, negative_mr
from worker.delivery import deliver

if TYPE_CHECKING:
    from tests.seen.viewer import Look, Viewer

pytestmark = [pytest.mark.seen, pytest.mark.timeout(900)]

MAX_OUTLINES = 8
# OHIF has no view for these; it lists them with a warning sign.
WITHOUT_VIEW = frozenset({"KO", "PR"})
# As OHIF calls what lies over the slices.
MODALITIES = {ResultKind.SEGMENTATION: "SEG", ResultKind.PARAMETRIC_MAP: "PMAP"}


@pytest.mark.parametrize("name", CASES)
def test_a_reader_sees_what_was_written(
    name: str, pacs: Pacs, viewer: "Viewer", engine: Engine, pictures: Path, tmp_path: Path
) -> None:
    case = CASES[name](tmp_path / "study")
    archive(case, pacs, engine, tmp_path / "storage")
    kept = pacs.series_of(case.study_uid)
    look = viewer.look(case.study_uid, len(kept), pictures / name.replace(" ", "-"))
    assert look.faults == ()
    assert {series.uid for series in look.series} == kept
    for series in look.series:
        assert series.supported != (series.modality in WITHOUT_VIEW), series
        assert series.supported != series.blank, series
    assert frames(look, case, ResultKind.PAGE) == len(case.of(ResultKind.PAGE))
    assert {series.modality: series.colours for series in look.series if series.colours} == {
        modality: (True, False) for kind, modality in MODALITIES.items() if case.of(kind)
    }
    assert frames(look, case, ResultKind.OVERLAY) == len(case.of(ResultKind.OVERLAY))
    assert frames(look, case, ResultKind.OVERLAY_FRAMES) == sum(
        int(dcmread(BytesIO(made.data)).NumberOfFrames) for made in case.of(ResultKind.OVERLAY_FRAMES)
    )
    assert drawn(look) == written(case)
    assert len(written(case)) == expected_regions(case)


def test_a_report_that_would_leave_the_viewport_black_is_noticed(
    pacs: Pacs, viewer: "Viewer", engine: Engine, pictures: Path, tmp_path: Path
) -> None:
    case = negative_mr(tmp_path / "study")
    blank = tuple(without_region(r) if r.kind is ResultKind.REPORT else r for r in case.results)
    archive(replace(case, results=blank), pacs, engine, tmp_path / "storage")
    look = viewer.look(case.study_uid, len(pacs.series_of(case.study_uid)), pictures / "broken")
    (report,) = (series for series in look.series if series.modality == "SR")
    assert report.blank
    assert any("TypeError" in fault for fault in look.faults)


def archive(case: ViewerCase, pacs: Pacs, engine: Engine, storage: Path) -> None:
    """The modality sends its images, our delivery sends the results."""
    sent = send(case.sources, LOOPBACK, pacs.dicom_port, called=AE_TITLE, calling="MODALITY")
    assert len(sent.stored) == len(case.sources), sent
    destination = {"name": "archive", "ae_title": AE_TITLE, "host": LOOPBACK, "port": pacs.dicom_port}
    settings = Settings.model_validate({"storage": {"root": storage}, "destination": [destination]})
    waiting = [_stored(result, storage) for result in case.results]
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection, study=case.study_uid)), *waiting)
    assert deliver(engine, settings, "archive", owner="test") == len(waiting)


def _stored(result: ResultObject, storage: Path) -> WrittenObject:
    path = Path("results", f"{result.sop_instance_uid}.dcm")
    write_durably(storage / path, result.data)
    return WrittenObject(result, path, ("archive",))


def expected_regions(case: ViewerCase) -> int:
    """The findings on the series that the report outlines; without one, the analysed head."""
    if case.outcome is not Outcome.PRESENT:
        return 1 if case.outcome.analysed else 0
    if not case.of(ResultKind.REPORT):
        return 0
    images = {image for image, _ in written(case)}
    (series,) = {
        finding.series_instance_uid for finding in case.findings if finding.sop_instance_uid in images
    }
    return min(MAX_OUTLINES, sum(finding.series_instance_uid == series for finding in case.findings))


def frames(look: "Look", case: ViewerCase, kind: ResultKind) -> int:
    """How many images the viewer says that the series of a kind of result has; 0 where it lists none."""
    uids = {result.series_instance_uid for result in case.of(kind)}
    return sum(series.frames for series in look.series if series.uid in uids)


def written(case: ViewerCase) -> list[tuple[str, str]]:
    """Image and probability of each region in the report, as OHIF words it."""
    return sorted(chain.from_iterable(map(_regions, case.of(ResultKind.REPORT))))


def _regions(report: ResultObject) -> Iterator[tuple[str, str]]:
    for group in _groups(dcmread(BytesIO(report.data))):
        items = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in group.ContentSequence}
        image = items["Image Region"].ContentSequence[0].ReferencedSOPSequence[0]
        percent = items["Probability"].MeasuredValueSequence[0].NumericValue
        yield str(image.ReferencedSOPInstanceUID), f"Probability: {percent:.2f} %"


def _groups(report: Dataset) -> list[Dataset]:
    """The measurement groups (TID 1500 row 6)."""
    (measurements,) = (
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return list(measurements.ContentSequence)


def drawn(look: "Look") -> list[tuple[str, str]]:
    """Image and first line of text of each region that was drawn, on all images that were stepped to."""
    by_image = {drawing.image: drawing for series in look.series for drawing in series.drawings}
    for drawing in by_image.values():
        assert drawing.shapes == len(drawing.texts), drawing
    return sorted((drawing.image, text[0]) for drawing in by_image.values() for text in drawing.texts)


def without_region(result: ResultObject) -> ResultObject:
    """A report whose groups point at no image."""
    report = dcmread(BytesIO(result.data))
    for group in _groups(report):
        kept = [item for item in group.ContentSequence if item.ValueType != "SCOORD"]
        group.ContentSequence = kept
    data = BytesIO()
    report.save_as(data)
    return replace(result, data=data.getvalue())
