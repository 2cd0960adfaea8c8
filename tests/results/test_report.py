"""The report is a TID 1500 tree that viewers can draw, and says exactly who said what."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from neurotriage.core.evidence import Evidence
from neurotriage.core.left_out import left_out_sentences
from neurotriage.core.values import (
    Analysis,
    LeftOut,
    ObjectReference,
    Outcome,
    Reason,
    ReasonCode,
    ResultKind,
    Side,
)
from neurotriage.core.volume import SliceSource
from neurotriage.phantom import (
    CORONAL,
    INSTALLATION,
    LESION_CENTRE_MM,
    MODEL_SHA256,
    TILTED,
    Made,
    make_analysis,
    make_fused_analysis,
    make_pair,
    make_study,
)
from worker.results import build
from worker.results.regions import MAX_OUTLINES, closed_outline, head_frame

STUDIES: dict[str, dict[str, Any]] = {
    "mr": {},
    "enhanced": {"enhanced": True, "orientation": CORONAL},
    "ct": {"modality": "CT", "orientation": TILTED},
}


def report_of(made: Made, outcome: Outcome, **changes: Any) -> Any:
    analysis, evidence = make_analysis(made, outcome, **changes)
    results = build(analysis, evidence, made.manifest, INSTALLATION).objects
    (data,) = [r.data for r in results if r.kind is ResultKind.REPORT]
    return hd.sr.srread(io.BytesIO(data))


def report_bytes(made: Made, previous: tuple[ObjectReference, ...] = (), **changes: Any) -> bytes:
    analysis, evidence = make_analysis(made, Outcome.PRESENT, **changes)
    kinds = {ResultKind.REPORT}
    (result,) = build(analysis, evidence, made.manifest, INSTALLATION, kinds=kinds, previous=previous).objects
    return result.data


def groups_of(report: Any) -> list[Any]:
    return list(report.content.get_planar_roi_measurement_groups())


def items(parent: Dataset, code: str) -> list[Dataset]:
    return [i for i in parent.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == code]


@pytest.mark.parametrize("name", STUDIES)
def test_each_finding_is_a_closed_outline_on_its_image(name: str, tmp_path: Path) -> None:
    made = make_study(tmp_path, **STUDIES[name])
    analysis, _ = make_analysis(made, Outcome.PRESENT)
    report = report_of(made, Outcome.PRESENT)
    groups = groups_of(report)
    assert len(groups) == len(analysis.findings)
    for group, finding in zip(groups, analysis.findings, strict=True):
        region = group.roi
        assert region.graphic_type == hd.sr.GraphicTypeValues.POLYLINE
        line = region.value
        assert (line[0] == line[-1]).all()
        np.testing.assert_allclose(line.min(axis=0), finding.box[:2])
        np.testing.assert_allclose(line.max(axis=0), finding.box[2:])
        image = region.ContentSequence[0].ReferencedSOPSequence[0]
        assert image.ReferencedSOPInstanceUID == finding.sop_instance_uid
        assert image.get("ReferencedFrameNumber") == finding.frame


def test_the_outline_lies_on_the_lesion(tmp_path: Path) -> None:
    made = make_study(tmp_path, orientation=TILTED, shape=(256, 180))
    for group in groups_of(report_of(made, Outcome.PRESENT)):
        uid = group.roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        source = dcmread(tmp_path / f"{uid}.dcm")
        middle = (group.roi.value.min(axis=0) + group.roi.value.max(axis=0)) / 2 - 0.5  # corner to centre
        axes = np.array(source.ImageOrientationPatient, float).reshape(2, 3)
        spacing = np.array(source.PixelSpacing, float)
        place = np.array(source.ImagePositionPatient, float) + (middle * spacing[::-1]) @ axes
        assert np.linalg.norm(axes @ (LESION_CENTRE_MM - place)) < 2


def test_each_group_says_probability_first_size_site_and_model(mr: Made) -> None:
    for group in groups_of(report_of(mr, Outcome.PRESENT)):
        measured = group.get_measurements()
        assert [(m.name.value, m.unit.value) for m in measured] == [("122157", "%"), ("103339001", "mm")]
        assert measured[0].value == pytest.approx(97.3)
        assert group.finding_type.value == "108369006"
        (site,) = group.finding_sites
        assert (site.value.value, site.laterality.value) == ("12738006", "7771000")
        (root,) = group
        words = [item.TextValue for item in root.ContentSequence if item.ValueType == "TEXT"]
        assert "efficientnet-lite0-mr" in words
        assert f"weights sha256={MODEL_SHA256}" in words
        assert "threshold=0.5" in words


def test_each_group_has_a_tracking_uid_of_its_own(mr: Made) -> None:
    groups = groups_of(report_of(mr, Outcome.PRESENT))
    assert len({group.tracking_uid for group in groups}) == len(groups) > 1


def test_a_lesion_in_the_midline_has_no_laterality(mr: Made) -> None:
    analysis, _ = make_analysis(mr, Outcome.PRESENT)
    findings = tuple(replace(finding, side=Side.MIDLINE) for finding in analysis.findings)
    for group in groups_of(report_of(mr, Outcome.PRESENT, findings=findings)):
        assert group.finding_sites[0].laterality is None


@pytest.mark.parametrize("name", STUDIES)
def test_without_a_finding_the_analysed_head_is_framed_and_nothing_is_claimed(
    name: str, tmp_path: Path
) -> None:
    made = make_study(tmp_path, **STUDIES[name])
    (group,) = groups_of(report_of(made, Outcome.ABSENT))
    assert group.finding_type is None
    assert group.get_measurements()[0].value == pytest.approx(3.2)
    line = group.roi.value
    assert len(line) >= 7  # four corners would be a viewer's rectangle tool
    assert (line[0] == line[-1]).all()
    rows, columns = made.masks[0].shape
    assert (line >= 0).all()
    assert (line[:, 0] <= 0.9 * columns).all()
    assert (line[:, 1] <= rows).all()


@pytest.mark.parametrize(
    ("outcome", "run", "state"),
    [
        (Outcome.PRESENT, "111242", "52101004"),
        (Outcome.ABSENT, "111241", "272519000"),
        (Outcome.UNDETERMINED, "111241", "280416009"),
    ],
)
def test_the_study_level_statement_stands_beside_the_groups(
    outcome: Outcome, run: str, state: str, mr: Made
) -> None:
    report = report_of(mr, outcome)
    (container,) = items(report, "C0034375")
    assert items(container, "121071")[0].ConceptCodeSequence[0].CodeValue == run
    assert items(container, "108369006")[0].ConceptCodeSequence[0].CodeValue == state
    assert "RESEARCH USE ONLY" in items(container, "121106")[0].TextValue


def test_what_was_not_done_as_it_should_be_is_said(mr: Made) -> None:
    note = "7 of 15 slices of series 1.2.840.1 were looked at"
    report = report_of(mr, Outcome.ABSENT, degradations=(note,))
    (container,) = items(report, "C0034375")
    assert "Note: 7 of 15 slices of a series were looked at." in items(container, "121106")[0].TextValue


def test_only_referenced_images_are_evidence(mr: Made) -> None:
    analysis, _ = make_analysis(mr, Outcome.PRESENT)
    report = report_of(mr, Outcome.PRESENT)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    listed = {item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence}
    assert listed == {finding.sop_instance_uid for finding in analysis.findings}
    assert series.SeriesInstanceUID == mr.series_instance_uid
    (library,) = items(report, "111028")
    assert len(items(library, "126200")[0].ContentSequence) == len(listed)


def test_a_lesion_on_many_slices_is_outlined_on_a_few_and_their_number_is_said(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=150, shape=(96, 96))
    analysis, _ = make_analysis(made, Outcome.PRESENT)
    count = len(analysis.findings)
    assert count > 4 * MAX_OUTLINES
    surest = 5
    findings = [replace(f, probability=0.99 if n == surest else 0.9) for n, f in enumerate(analysis.findings)]
    report = report_of(made, Outcome.PRESENT, findings=tuple(findings))
    shown = [
        group.roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for group in groups_of(report)
    ]
    assert len(shown) == MAX_OUTLINES
    largest = max(range(count), key=lambda n: made.masks[findings[n].slice_index].sum())
    for must in (0, surest, largest, count - 1):
        assert findings[must].sop_instance_uid in shown
    order = [finding.sop_instance_uid for finding in findings]
    assert shown == sorted(shown, key=order.index)
    comment = items(items(report, "C0034375")[0], "121106")[0].TextValue
    assert f"Findings are seen on {count} slices; this report outlines {MAX_OUTLINES} of {count}." in comment
    assert len(report_bytes(made, findings=tuple(findings))) < 100 * 1024


def test_every_lesion_is_outlined_before_one_is_outlined_twice(mr: Made) -> None:
    analysis, _ = make_analysis(mr, Outcome.PRESENT)
    lesions = tuple(replace(f, lesion=n + 1) for n, f in enumerate(analysis.findings))
    findings = tuple(analysis.findings) * 3 + lesions[1:3]
    groups = groups_of(report_of(mr, Outcome.PRESENT, findings=findings))
    named = {group.tracking_identifier.split(",")[0] for group in groups}
    assert len(groups) == MAX_OUTLINES
    assert named == {"Lesion 1", "Lesion 2", "Lesion 3"}


def test_a_report_names_the_one_that_it_replaces_and_never_itself(
    mr: Made, errors_of: Callable[[bytes], list[str]]
) -> None:
    earlier = ObjectReference("1.2.840.10008.5.1.4.1.1.88.34", "2.25.8", "2.25.9")
    first = hd.sr.srread(io.BytesIO(report_bytes(mr)))
    itself = ObjectReference(str(first.SOPClassUID), str(first.SOPInstanceUID), str(first.SeriesInstanceUID))
    data = report_bytes(mr, previous=(itself, earlier))
    (study,) = dcmread(io.BytesIO(data)).PredecessorDocumentsSequence
    assert study.StudyInstanceUID == mr.manifest.study_instance_uid
    (series,) = study.ReferencedSeriesSequence
    (document,) = series.ReferencedSOPSequence
    assert (series.SeriesInstanceUID, document.ReferencedSOPInstanceUID) == ("2.25.9", "2.25.8")
    assert "PredecessorDocumentsSequence" not in first
    assert errors_of(data) == []


def test_the_report_is_never_verified_and_stays_small(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=60, shape=(96, 96))
    report = report_of(made, Outcome.ABSENT)
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    analysis, evidence = make_analysis(made, Outcome.ABSENT)
    assert all(
        len(r.data) < 100 * 1024
        for r in build(analysis, evidence, made.manifest, INSTALLATION).objects
        if r.kind is ResultKind.REPORT
    )


def test_an_outline_beyond_the_edge_is_held_inside_the_image_and_closed() -> None:
    line = closed_outline(((-3, 5), (4, 5), (4, 5), (4, 30), (-3, 30)), rows=20, columns=10)
    assert line is not None
    assert line.tolist() == [[0, 5], [4, 5], [4, 20], [0, 20], [0, 5]]


def test_an_outline_without_area_is_left_out() -> None:
    assert closed_outline(((1, 1), (2, 2), (1, 1)), rows=9, columns=9) is None


def test_a_slice_without_a_visible_head_is_framed_as_a_whole() -> None:
    line = head_frame(np.zeros((64, 64), dtype=np.float32), "MR")
    assert np.ptp(line[:, 1]) > 50


def test_one_report_speaks_of_ct_and_mr_and_outlines_the_series_that_decided(
    tmp_path: Path, errors_of: Callable[[bytes], list[str]]
) -> None:
    ct, mr = make_pair(tmp_path, slices=13)
    analysis, evidence = make_fused_analysis(ct, mr, Outcome.PRESENT)
    kinds = {ResultKind.REPORT}
    (result,) = build(analysis, evidence, ct.manifest, INSTALLATION, kinds=kinds).objects
    report = hd.sr.srread(io.BytesIO(result.data))
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    named = {series.SeriesInstanceUID for series in study.ReferencedSeriesSequence}
    assert named == {ct.series_instance_uid, mr.series_instance_uid}
    assert len(items(report, "121058")) == 1  # TID 1500 takes one procedure
    shown = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for group in items(items(report, "111028")[0], "126200")
        for item in group.ContentSequence
        if "ReferencedSOPSequence" in item
    }
    outlined = {
        group.roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for group in groups_of(report)
    }
    of_ct, of_mr = ({key for key, _ in made.keys} for made in (ct, mr))
    assert outlined <= of_ct
    assert outlined < shown
    assert len(shown & of_mr) == 1
    comment = items(items(report, "C0034375")[0], "121106")[0].TextValue
    seen = sum(mask.sum() > 8 for mask in mr.masks)
    assert f"Findings are seen on {2 * seen} slices ({seen} of CT, {seen} of MR)" in comment
    assert errors_of(result.data) == []


def in_two_stacks(made: Made, first: int) -> tuple[Analysis, Evidence]:
    """An analysis whose second stack starts at slice ``first`` of the series."""
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    (whole,) = analysis.series
    stacks = ((1, made.keys[:first]), (2, made.keys[first:]))
    return replace(
        analysis,
        series=tuple(
            replace(whole, stack=stack, slices=tuple(SliceSource(uid, frame, None) for uid, frame in keys))
            for stack, keys in stacks
        ),
        findings=tuple(
            replace(f, slice_index=f.slice_index - (first if f.slice_index >= first else 0))
            for f in analysis.findings
        ),
    ), evidence


@pytest.mark.parametrize("study", [{}, {"enhanced": True}])
def test_outlines_of_two_stacks_lie_on_their_images_and_count_their_own_slices(
    study: dict[str, Any], tmp_path: Path
) -> None:
    made = make_study(tmp_path, slices=9, **study)
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    middle = analysis.findings[len(analysis.findings) // 2].slice_index
    analysis, evidence = in_two_stacks(made, middle)
    kinds = {ResultKind.REPORT, ResultKind.SEGMENTATION}
    report, *segmentations = build(analysis, evidence, made.manifest, INSTALLATION, kinds=kinds).objects
    places = {}
    for group in groups_of(hd.sr.srread(io.BytesIO(report.data))):
        (source,) = group.roi.ContentSequence
        reference = source.ReferencedSOPSequence[0]
        frame = reference.get("ReferencedFrameNumber")
        places[made.keys.index((reference.ReferencedSOPInstanceUID, frame))] = group.tracking_identifier
    assert len(places) == len(analysis.findings)
    assert places == {
        n: f"Lesion 1, {f'slice {n + 1}' if n < middle else f'stack 2, slice {n - middle + 1}'}"
        for n in places
    }
    stacks = {
        frame.FrameContentSequence[0].StackID
        for result in segmentations
        for frame in dcmread(io.BytesIO(result.data)).PerFrameFunctionalGroupsSequence
    }
    assert stacks == {"1", "2"}


def test_the_report_tells_which_images_were_not_analysed(mr: Made) -> None:
    reason = Reason(ReasonCode.UNREADABLE_PIXELS, "the pixel data is truncated")
    left_out = (LeftOut(mr.series_instance_uid, reason, 2),)
    sentences = left_out_sentences(left_out)  # as the analysis tells them
    report = report_of(mr, Outcome.ABSENT, left_out=left_out, degradations=sentences)
    (evaluations,) = items(report, "C0034375")
    (comment,) = items(evaluations, "121106")
    note = "2 images of the MR series AX FLAIR were left out: the pixel data is truncated."
    assert note in comment.TextValue


def test_a_source_that_states_its_geometry_at_the_top_level_gets_every_object(tmp_path: Path) -> None:
    """Enhanced MR as some devices write it, without the functional groups that PS3.3 asks for."""
    made = make_study(tmp_path, slices=9, enhanced=True)
    path = made.manifest.series[0].instances[0].path
    dataset = dcmread(path)
    for groups in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence):
        for name, keywords in (
            ("PixelMeasuresSequence", ("PixelSpacing", "SliceThickness")),
            ("PlaneOrientationSequence", ("ImageOrientationPatient",)),
        ):
            if name in groups:
                for keyword in keywords:
                    setattr(dataset, keyword, groups[name].value[0][keyword].value)
                del groups[name]
    dataset.save_as(path)
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    kinds = set(ResultKind) - {ResultKind.OVERLAY_SERIES, ResultKind.OVERLAY_SERIES_FRAMES}
    results = build(analysis, evidence, made.manifest, INSTALLATION, kinds=kinds)
    assert results.omissions == ()
    assert {result.kind for result in results.objects} == kinds
