"""With triage-only claims no object says where or what the lesion is."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from reportlab.pdfgen.canvas import Canvas

from neurotriage.core.evidence import Evidence
from neurotriage.core.settings import SummarySettings
from neurotriage.core.values import Analysis, Claims, Outcome, ResultKind, ResultObject, Side
from neurotriage.phantom import INSTALLATION, Made, make_analysis
from worker.results import build, picture_of
from worker.results.pictures import page, typeface
from worker.summary import tell

ANALYSED = [outcome for outcome in Outcome if outcome.analysed]


def built(made: Made, outcome: Outcome, claims: Claims = Claims.TRIAGE_ONLY) -> tuple[ResultObject, ...]:
    analysis, evidence = with_classes(made, outcome)
    kinds = set(ResultKind)
    return build(analysis, evidence, made.manifest, INSTALLATION, claims=claims, kinds=kinds).objects


def with_classes(made: Made, outcome: Outcome) -> tuple[Analysis, Evidence]:
    """An analysis that knows what the lesion is, too."""
    analysis, evidence = make_analysis(made, outcome)
    predictions = tuple(
        replace(p, probabilities={**p.probabilities, "malignant": 0.913, "benign": 0.06})
        for p in analysis.predictions
    )
    return replace(analysis, predictions=predictions), evidence


def read(result: ResultObject) -> Dataset:
    return dcmread(io.BytesIO(result.data))


@pytest.mark.parametrize("outcome", Outcome)
def test_only_objects_that_say_the_verdict_are_made(outcome: Outcome, mr: Made) -> None:
    expected = [ResultKind.PAGE]
    expected += [ResultKind.REPORT] if outcome.analysed else []
    expected += [ResultKind.KEY_OBJECTS] if outcome.marked else []
    assert [result.kind for result in built(mr, outcome)] == [*expected, ResultKind.DOCUMENT]


def test_what_is_left_out_says_that_the_claims_are_why(mr: Made) -> None:
    analysis, evidence = with_classes(mr, Outcome.PRESENT)
    kinds = set(ResultKind)
    results = build(analysis, evidence, mr.manifest, INSTALLATION, claims=Claims.TRIAGE_ONLY, kinds=kinds)
    assert {item.kind: item.text for item in results.omissions} == dict.fromkeys(
        (
            ResultKind.OVERLAY, ResultKind.OVERLAY_SERIES, ResultKind.OVERLAY_FRAMES,
            ResultKind.OVERLAY_SERIES_FRAMES, ResultKind.SEGMENTATION, ResultKind.LABELMAP,
            ResultKind.PARAMETRIC_MAP, ResultKind.PRESENTATION_STATE,
        ),
        "the claims are triage-only",
    )  # fmt: skip


@pytest.mark.parametrize("outcome", [Outcome.PRESENT, Outcome.UNDETERMINED])
def test_the_key_objects_name_no_slice_and_no_lesion(outcome: Outcome, mr: Made) -> None:
    results = built(mr, outcome)
    (selection,) = [read(r) for r in results if r.kind is ResultKind.KEY_OBJECTS]
    named = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in selection.ContentSequence
        if item.ValueType in ("IMAGE", "COMPOSITE")
    }
    assert named == {r.sop_instance_uid for r in results[:2]}
    texts = [item for item in selection.ContentSequence if item.ValueType == "TEXT"]
    (words,) = [i.TextValue for i in texts if i.ConceptNameCodeSequence[0].CodeValue == "113012"]
    for word in ("left", "right", " mm", "lesion", "slice"):
        assert word not in words


def test_the_document_says_the_verdict_and_shows_no_picture(
    mr: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str] = []
    pictures: list[Any] = []
    monkeypatch.setattr(Canvas, "drawString", lambda self, x, y, line, *rest: words.append(line))
    monkeypatch.setattr(Canvas, "drawImage", lambda self, *rest, **more: pictures.append(rest))
    built(mr, Outcome.PRESENT)
    joined = " | ".join(words)
    assert "TUMOUR SUSPECTED" in joined
    assert "97 %" in joined
    assert not pictures
    for word in ("left", "right", " mm", "outline", "extends", "Colours", "malignant", "benign", "slice"):
        assert word not in joined, word


@pytest.mark.parametrize("outcome", ANALYSED)
def test_the_report_frames_the_head_on_the_middle_slice(outcome: Outcome, mr: Made) -> None:
    report = hd.sr.srread(io.BytesIO(built(mr, outcome)[1].data))
    (group,) = report.content.get_planar_roi_measurement_groups()
    assert group.finding_type is None
    assert group.finding_sites[0].laterality is None
    assert [m.name.meaning for m in group.get_measurements()] == ["Probability"]
    assert np.ptp(group.roi.value, axis=0).min() > 100  # the lesion is 30 pixels across
    (image,) = group.roi.ContentSequence[0].ReferencedSOPSequence
    assert image.ReferencedSOPInstanceUID == mr.keys[len(mr.keys) // 2][0]


def test_a_suspected_tumour_is_said(mr: Made) -> None:
    report = read(built(mr, Outcome.PRESENT)[1])
    assert b"TUMOUR SUSPECTED" in built(mr, Outcome.PRESENT)[1].data
    (evaluations,) = [
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "C0034375"
    ]
    codes = [item.ConceptCodeSequence[0].CodeValue for item in evaluations.ContentSequence[:2]]
    assert codes == ["111242", "52101004"]  # with findings; neoplasm present


def moved_of(analysis: Analysis, mr: Made) -> Analysis:
    """The same verdict with another lesion elsewhere, of another class and with other scores."""
    return replace(
        analysis,
        findings=tuple(
            replace(f, side=Side.RIGHT, size_mm=1.0, sop_instance_uid=mr.keys[0][0], slice_index=0)
            for f in analysis.findings[:1]
        ),
        predictions=tuple(
            replace(p, probabilities={**p.probabilities, "malignant": 0.0}) for p in analysis.predictions
        ),
        series=tuple(
            replace(s, scores=replace(s.scores, tumour=s.scores.tumour[::-1])) for s in analysis.series
        ),
    )


@pytest.mark.parametrize("outcome", ANALYSED)
def test_objects_and_text_do_not_depend_on_region_side_class_scores_or_heat_map(
    outcome: Outcome, mr: Made
) -> None:
    analysis, evidence = with_classes(mr, outcome)
    moved = moved_of(analysis, mr)
    first, second = (
        build(
            study,
            drawn,
            mr.manifest,
            INSTALLATION,
            claims=Claims.TRIAGE_ONLY,
            kinds=set(ResultKind),
            summary=tell(study, SummarySettings(plain_language=True), Claims.TRIAGE_ONLY).summary,
        )
        for study, drawn in ((analysis, evidence), (moved, Evidence()))
    )
    assert first == second
    told, told_of_moved = (tell(study, SummarySettings(), Claims.TRIAGE_ONLY) for study in (analysis, moved))
    assert told == told_of_moved


def test_the_page_has_no_heat_map_and_no_word_of_side_size_slice_or_class(
    mr: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str] = []

    def spy(draw: Any, place: Any, line: str, *rest: Any, **more: Any) -> None:
        words.append(line)
        typeface.write(draw, place, line, *rest, **more)

    monkeypatch.setattr(page, "write", spy)
    picture = picture_of(built(mr, Outcome.PRESENT)[0])
    assert picture is not None
    joined = " | ".join(words)
    assert "TUMOUR SUSPECTED" in joined
    assert "97 %" in joined
    for word in ("left", "right", " mm", "Side", "lesion", "relevance", "malignant", "benign", "slice 10"):
        assert word not in joined, word
    whole = np.asarray(Image.open(io.BytesIO(picture))).astype(int)
    for left in (page.MARGIN_PX, page.WIDTH_PX // 2 + 12):  # without orientation marks
        pane = whole[240:680, left + 50 : left + 500]
        assert np.ptp(pane, axis=2).max() <= 12  # the ground is nearly grey, a heat map is not


@pytest.mark.parametrize("claims", Claims)
def test_every_object_records_its_claims(claims: Claims, mr: Made) -> None:
    for result in built(mr, Outcome.PRESENT, claims):
        equipment = read(result).ContributingEquipmentSequence[0]
        assert equipment.ContributionDescription.endswith(f"claims: {claims.value}")


def test_objects_with_other_claims_have_other_uids(mr: Made) -> None:
    research, triage = (built(mr, Outcome.ABSENT, claims) for claims in Claims)
    assert not {r.sop_instance_uid for r in research} & {r.sop_instance_uid for r in triage}
    assert not {r.series_instance_uid for r in research} & {r.series_instance_uid for r in triage}


@pytest.mark.parametrize("outcome", Outcome)
def test_dciodvfy_finds_no_error(outcome: Outcome, mr: Made, errors_of: Callable[[bytes], list[str]]) -> None:
    for result in built(mr, outcome):
        assert errors_of(result.data) == [], result.kind
