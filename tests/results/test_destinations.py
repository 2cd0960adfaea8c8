"""Each destination gets the kinds of object that it asks for, and only those are made."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine

from db.studies import objects
from neurotriage.core.settings import Destination
from neurotriage.core.values import USUAL_KINDS, ObjectReference, Outcome, ResultKind, ResultObject
from neurotriage.phantom import INSTALLATION, make_analysis, make_study
from tests.db.rows import analysed, analysis, claimed, ready_revision, written
from worker.results import build
from worker.routing import wanted, wanted_kinds

PAGE, OVERLAY, REPORT = ResultKind.PAGE, ResultKind.OVERLAY, ResultKind.REPORT


def destination(**choices: Any) -> Destination:
    return Destination.model_validate(
        {"name": "pacs", "ae_title": "PACS", "host": "pacs", "port": 104, **choices}
    )


OTHER_OVERLAYS = {ResultKind.OVERLAY_SERIES, ResultKind.OVERLAY_FRAMES, ResultKind.OVERLAY_SERIES_FRAMES}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("choices", "kinds"),
    [
        ({}, USUAL_KINDS),
        ({"objects": ["sc", "sr"]}, USUAL_KINDS),
        ({"objects": ["sc"]}, {PAGE, OVERLAY}),
        ({"objects": ["sr", "page"]}, {PAGE, REPORT}),
        ({"objects": ["report"], "overlay": "series"}, {REPORT}),
        ({"overlay": "none"}, {PAGE, REPORT}),
        ({"objects": ["sc", "seg"], "overlay": "none"}, {PAGE, ResultKind.SEGMENTATION}),
        (
            {"objects": ["ko", "seg", "seg-labelmap", "pm", "gsps", "pdf"]},
            set(ResultKind) - USUAL_KINDS - OTHER_OVERLAYS,
        ),
        ({"objects": ["overlay-multiframe"]}, {ResultKind.OVERLAY_FRAMES}),
        ({"objects": ["overlay-multiframe"], "overlay": "series"}, {ResultKind.OVERLAY_SERIES_FRAMES}),
        ({"objects": ["page", "overlay-multiframe"], "overlay": "none"}, {PAGE}),
        ({"overlay": "series"}, {PAGE, ResultKind.OVERLAY_SERIES, REPORT}),
    ],
)
def test_a_destination_gets_what_it_names(choices: dict[str, Any], kinds: set[ResultKind]) -> None:
    asked = destination(**choices)
    assert asked.kinds == kinds
    made = [ResultObject(kind, 0, "1.2", "2.25.1", "2.25.2", b"") for kind in ResultKind]
    assert {result.kind for result in made if wanted(asked, analysis(), result)} == kinds


@pytest.mark.unit
@pytest.mark.parametrize("objects", [[], ["rtstruct"], ["overlay_series"], "sc"])
def test_other_names_are_refused(objects: Any) -> None:
    with pytest.raises(ValidationError):
        destination(objects=objects)


@pytest.mark.unit
def test_what_any_destination_wants_is_made() -> None:
    asked = (destination(objects=["sr"]), destination(overlay="series"))
    assert wanted_kinds(asked) == {PAGE, ResultKind.OVERLAY_SERIES, REPORT}
    assert wanted_kinds(()) == USUAL_KINDS


def test_only_the_kinds_that_are_asked_for_are_made_and_they_do_not_depend_on_each_other(
    tmp_path: Path,
) -> None:
    made = make_study(tmp_path, slices=15, shape=(64, 64))
    findings, evidence = make_analysis(made, Outcome.PRESENT)
    everything = build(findings, evidence, made.manifest, INSTALLATION, kinds=set(ResultKind)).objects
    assert len({result.sop_instance_uid for result in everything}) == len(everything)
    for kind in set(ResultKind) - {ResultKind.KEY_OBJECTS}:  # they name the others
        alone = build(findings, evidence, made.manifest, INSTALLATION, kinds={kind}).objects
        assert [r.data for r in alone] == [r.data for r in everything if r.kind is kind]
        assert alone


def test_overlays_of_the_series_show_every_slice_in_a_series_of_their_own(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=15, shape=(64, 64))
    findings, evidence = make_analysis(made, Outcome.PRESENT)
    some = build(findings, evidence, made.manifest, INSTALLATION, kinds={OVERLAY}).objects
    every = build(findings, evidence, made.manifest, INSTALLATION, kinds={ResultKind.OVERLAY_SERIES}).objects
    assert len(some) < len(every) == 15
    assert len({result.series_instance_uid for result in (*some, *every)}) == 2


def test_a_healthy_study_has_no_overlays_of_its_series_either(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=9, shape=(64, 64))
    healthy, evidence = make_analysis(made, Outcome.ABSENT)
    every = build(healthy, evidence, made.manifest, INSTALLATION, kinds={ResultKind.OVERLAY_SERIES})
    assert not every.objects


def test_the_newest_report_of_a_study_is_known(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        assert objects.last_documents(connection, held.study_id) == ()
        report = ResultObject(REPORT, 0, "1.2.840.10008.5.1.4.1.1.88.34", "2.25.8", "2.25.9", b"DICOM")
        page = written(1)
        analysed(connection, held, page, objects.WrittenObject(report, page.path, ()))
        assert objects.last_documents(connection, held.study_id) == (
            ObjectReference("1.2.840.10008.5.1.4.1.1.88.34", "2.25.8", "2.25.9"),
        )
