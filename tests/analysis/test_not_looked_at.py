"""An answer names the series and images that should have been looked at and were not: no silent negative."""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage

from neurotriage.core.result_json import study_entry
from neurotriage.core.values import Analysis, Outcome, ReasonCode
from neurotriage.dicom.manifest import scan_folder
from tests.core.made import part10
from tests.eligibility.rule import RULE
from tests.selection.site import rule, rules_of
from tests.vision.synthetic import ood_limits, write_weights
from tests.worker.studies import head_mr
from worker.analysis import analyse, select_series
from worker.results import build, report_text
from worker.results.wording.text import notes
from worker.selection import BUILT_IN_ALONE, SiteRules
from worker.selection.ranking import MAX_SERIES
from worker.vision import load_models, read_registry

# Random weights say one half of everything, so the rule alone makes the answer: no tumour, and a head.
NO_TUMOUR = {"low": 1.1, "high": 1.2, "certain": 1.3, "head_probability": 0.0, **ood_limits(2.0)}
WHOLE, HOLED = "2.25.201", "2.25.202"


def _answer(
    folder: Path, *series: list[Dataset], rules: SiteRules = BUILT_IN_ALONE, **limits: float
) -> Analysis:
    """The analysis of a study; its result objects can be built from it, too."""
    weights = folder / "weights"
    weights.mkdir()
    write_weights(weights, **{**NO_TUMOUR, **limits})
    for dataset in chain(*series):
        (folder / f"{dataset.SOPInstanceUID}.dcm").write_bytes(part10(dataset))
    (study,) = scan_folder(folder).studies
    analysis, evidence = analyse(
        select_series(study, RULE, rules),
        read_registry(weights).modalities,
        lambda: load_models(weights, threads=1),
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert build(analysis, evidence, study, "2.25.1").objects
    return analysis


def _series(uid: str, **attributes: object) -> list[Dataset]:
    made = head_mr(SeriesInstanceUID=uid, **attributes)
    for dataset in made:
        dataset.SOPInstanceUID = f"{uid}.{dataset.InstanceNumber}"
    return made


@pytest.mark.parametrize(("left_out", "outcome"), [(1, Outcome.ABSENT), (2, Outcome.UNDETERMINED)])
def test_a_wide_hole_stands_against_absent_also_where_the_numbers_run_on(
    tmp_path: Path, left_out: int, outcome: Outcome
) -> None:
    """Slabs scanned apart, or an export that numbered anew what it kept."""
    slices = [d for d in _series(WHOLE) if not 12 <= d.InstanceNumber < 12 + left_out]
    for number, dataset in enumerate(slices, start=1):
        dataset.InstanceNumber = number
    analysis = _answer(tmp_path, slices, coverage_mm=50.0)
    assert analysis.outcome is outcome
    if outcome is Outcome.UNDETERMINED:
        assert [reason.code for reason in analysis.reasons] == [ReasonCode.PART_NOT_ANALYSED]
        assert " mm lie between two of them" in analysis.reasons[0].text


def test_a_series_with_missing_images_is_analysed_and_says_so(tmp_path: Path) -> None:
    analysis = _answer(tmp_path, [d for d in _series(HOLED) if d.InstanceNumber != 9])
    assert analysis.outcome is Outcome.ABSENT  # 5 mm hide no lesion that would be outlined
    assert analysis.verdicts[0].taken
    words = "1 of 28 slices is missing from the stack, the first after image 8"
    assert f"series {HOLED}, {words}" in analysis.degradations
    assert words in json.dumps(study_entry(analysis, []))
    assert f"Note: A series, {words}" in notes(analysis)  # of page, report and document
    assert words in report_text(analysis)


def _missing(slices: list[Dataset], numbers: Collection[int]) -> list[Dataset]:
    return [dataset for dataset in slices if dataset.InstanceNumber not in numbers]


def _damaged(slices: list[Dataset], numbers: Collection[int]) -> list[Dataset]:
    for number in numbers:
        slices[number - 1].PixelData = slices[number - 1].PixelData[:100]
    return slices


@pytest.mark.parametrize("lose", [_missing, _damaged])
@pytest.mark.parametrize(
    ("numbers", "outcome"),
    [((14,), Outcome.ABSENT), ((14, 15), Outcome.UNDETERMINED), ((9, 14, 19), Outcome.ABSENT)],
)
def test_missing_and_damaged_slices_are_judged_by_what_they_hide(
    tmp_path: Path, lose: Callable[..., list[Dataset]], numbers: tuple[int, ...], outcome: Outcome
) -> None:
    analysis = _answer(tmp_path, lose(_series(WHOLE), numbers))
    assert analysis.outcome is outcome
    assert sum(len(row.slices) for row in analysis.series) == 28 - len(numbers)
    if outcome is Outcome.UNDETERMINED:
        assert [reason.code for reason in analysis.reasons] == [ReasonCode.PART_NOT_ANALYSED]


def test_a_tumour_beside_a_hole_is_present_however_wide_the_hole_is(tmp_path: Path) -> None:
    slices = _missing(_series(WHOLE), range(10, 17))
    analysis = _answer(tmp_path, slices, low=0.1, high=0.2, certain=0.3, outer_weight=1.0)
    assert analysis.outcome is Outcome.PRESENT
    assert f"series {WHOLE}, 7 of 28 slices are missing from the stack" in " ".join(analysis.degradations)


def test_what_the_archive_counts_and_nobody_has_seen_is_no_absent_and_no_refusal(tmp_path: Path) -> None:
    analysis = _answer(tmp_path, _series(WHOLE, NumberOfSeriesRelatedInstances=30))
    assert analysis.outcome is Outcome.UNDETERMINED
    assert "the series states 30 images, 28 are here" in analysis.reasons[0].text


def test_too_little_is_left_of_a_series_with_missing_images(tmp_path: Path) -> None:
    analysis = _answer(tmp_path, _series(WHOLE, NumberOfSeriesRelatedInstances=28)[12:16])
    assert analysis.outcome is Outcome.INCOMPLETE
    assert "the series states 28 images, 4 are here; what is here is too little" in analysis.reasons[0].text


def test_a_second_series_that_shows_a_hole_makes_up_for_it(tmp_path: Path) -> None:
    holed = _missing(_series(WHOLE, FrameOfReferenceUID="2.25.9"), range(12, 17))
    other = _series("2.25.203", FrameOfReferenceUID="2.25.9")[9:19]
    for number, dataset in enumerate(other, start=1):
        dataset.InstanceNumber = number
    assert _answer(tmp_path, holed, other, coverage_mm=50.0).outcome is Outcome.ABSENT


def test_files_that_share_a_uid_are_named_so_and_are_not_missing(tmp_path: Path) -> None:
    slices = _series(WHOLE)
    for number in (14, 15):
        twin = slices.pop(13)
        twin.SOPInstanceUID = slices[0].SOPInstanceUID
        (tmp_path / f"~{number}.dcm").write_bytes(part10(twin))
    analysis = _answer(tmp_path, slices)
    assert analysis.outcome is Outcome.UNDETERMINED
    assert [(item.reason.code, item.count) for item in analysis.left_out] == [(ReasonCode.SAME_UID, 2)]
    assert "missing" not in " ".join(analysis.degradations)


def test_a_series_that_lost_by_rank_is_named_and_counts_where_it_shows_a_part_of_its_own(
    tmp_path: Path,
) -> None:
    def answer(folder: Path, last: int) -> Analysis:
        folder.mkdir()
        best = [_series(f"2.25.30{n}", FrameOfReferenceUID="2.25.9")[last:] for n in range(MAX_SERIES)]
        fifth = _series("2.25.399", FrameOfReferenceUID="2.25.9")[: 28 - last - 1]
        return _answer(folder, *best, fifth, coverage_mm=50.0)

    little, much = answer(tmp_path / "little", 2), answer(tmp_path / "much", 8)
    for analysis in (little, much):
        named = "series 2.25.399 was not looked at: eligible, but 4 series of the study tell more"
        assert named in analysis.degradations
    assert little.outcome is Outcome.ABSENT
    assert much.outcome is Outcome.UNDETERMINED


@pytest.mark.parametrize("numbers", [(27, 28)])
def test_a_study_with_images_at_an_end_that_cannot_be_read_is_never_absent(
    tmp_path: Path, numbers: tuple[int, ...]
) -> None:
    analysis = _answer(tmp_path, _damaged(_series(WHOLE), numbers))
    assert analysis.outcome is Outcome.UNDETERMINED
    assert [reason.code for reason in analysis.reasons] == [ReasonCode.PART_NOT_ANALYSED]
    assert [(item.reason.code, item.count) for item in analysis.left_out] == [
        (ReasonCode.UNREADABLE_PIXELS, len(numbers))
    ]
    assert f"of series {WHOLE} w" in analysis.degradations[0]
    assert "left out: the pixel data is truncated" in analysis.degradations[0]


def test_a_second_series_that_shows_the_lost_place_makes_up_for_it(tmp_path: Path) -> None:
    slices = _series(WHOLE, FrameOfReferenceUID="2.25.9")
    slices[13].PixelData = slices[13].PixelData[:100]
    analysis = _answer(tmp_path, slices, _series("2.25.203", FrameOfReferenceUID="2.25.9"))
    assert analysis.outcome is Outcome.ABSENT
    assert sum(item.count for item in analysis.left_out) == 1


def test_a_whole_study_has_no_such_note(tmp_path: Path) -> None:
    analysis = _answer(tmp_path, _series(WHOLE))
    assert analysis.outcome is Outcome.ABSENT
    assert not any("looked at" in text or "left out" in text for text in analysis.degradations)


@pytest.mark.parametrize("part", ["HEAD", ""])
def test_a_head_with_too_little_of_it_is_of_poor_quality_whatever_the_header_says(
    tmp_path: Path, part: str
) -> None:
    analysis = _answer(tmp_path, _series(WHOLE, BodyPartExamined=part)[12:16])
    assert analysis.outcome is Outcome.POOR_QUALITY
    assert [reason.code for reason in analysis.reasons] == [ReasonCode.TOO_FEW_SLICES]
    assert analysis.head_meant  # so that its page is sent


@pytest.mark.parametrize(("part", "outcome"), [("HEAD", Outcome.POOR_QUALITY), ("", Outcome.NOT_ELIGIBLE)])
def test_what_is_unlike_any_head_is_of_poor_quality_where_the_header_speaks_of_one(
    tmp_path: Path, part: str, outcome: Outcome
) -> None:
    analysis = _answer(tmp_path, _series(WHOLE, BodyPartExamined=part), **ood_limits(-1.0))
    assert analysis.outcome is outcome
    assert analysis.reasons[-1].code is ReasonCode.OUT_OF_DISTRIBUTION
    assert analysis.predictions == ()


def test_what_the_model_turns_away_is_named_with_the_images_that_could_not_be_read(tmp_path: Path) -> None:
    slices = _series(WHOLE, BodyPartExamined="HEAD")
    slices[-1].PixelData = slices[-1].PixelData[:100]
    analysis = _answer(tmp_path, slices, **ood_limits(-1.0))
    assert analysis.outcome is Outcome.POOR_QUALITY
    (lost,) = analysis.degradations
    assert lost.startswith(f"1 image of series {WHOLE} was left out: ")


@pytest.mark.parametrize(
    "odd",
    [
        {"SOPClassUID": SecondaryCaptureImageStorage},
        {"Modality": "OT"},
        {"ImageType": ["DERIVED", "SECONDARY", "MIP"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    ],
    ids=["class", "modality", "projection", "localizer"],
)
@pytest.mark.parametrize("numbers", [range(10, 20), range(1, 8)], ids=["between", "below"])
def test_a_block_that_says_it_is_no_slice_is_missed_where_nothing_else_was_analysed(
    tmp_path: Path, odd: dict[str, object], numbers: range
) -> None:
    slices = _series(WHOLE)
    for number in numbers:
        for name, value in odd.items():
            setattr(slices[number - 1], name, value)
    analysis = _answer(tmp_path, slices, coverage_mm=50.0)
    assert analysis.outcome is Outcome.UNDETERMINED
    assert [reason.code for reason in analysis.reasons] == [ReasonCode.PART_NOT_ANALYSED]
    assert f"{len(numbers)} images lie where nothing was analysed" in analysis.reasons[0].text


def test_a_picture_of_another_matrix_between_slices_is_missed_and_one_above_them_is_not(
    tmp_path: Path,
) -> None:
    def answer(folder: Path, numbers: range) -> Outcome:
        folder.mkdir()
        slices = _series(WHOLE)
        for number in numbers:
            odd = slices[number - 1]
            odd.SOPClassUID, odd.Rows, odd.PixelData = SecondaryCaptureImageStorage, 80, bytes(2 * 80 * 160)
            odd.PixelSpacing = [2.8, 1.4]
        return _answer(folder, slices, coverage_mm=50.0).outcome

    assert answer(tmp_path / "between", range(10, 20)) is Outcome.UNDETERMINED
    assert answer(tmp_path / "above", range(26, 29)) is Outcome.ABSENT


@pytest.mark.parametrize(
    ("numbers", "changes"),
    [
        ((13, 14, 15, 16), {}),
        ((1, 2, 3, 4), {}),
        (range(1, 9), {"PixelData": b"\0" * 100}),
        (range(1, 9), {"Modality": "CT", "SOPClassUID": CTImageStorage}),
    ],
    ids=["few between", "few below", "damaged", "no calibration"],
)
def test_a_study_is_never_absent_where_a_series_that_is_lacking_shows_a_place_of_its_own(
    tmp_path: Path, numbers: Sequence[int], changes: dict[str, object]
) -> None:
    slices = _series(WHOLE, FrameOfReferenceUID="2.25.9")
    for number in numbers:
        slices[number - 1].SeriesInstanceUID = HOLED
        for name, value in changes.items():
            setattr(slices[number - 1], name, value)
    for place, dataset in enumerate(d for d in slices if d.SeriesInstanceUID == WHOLE):
        dataset.InstanceNumber = place + 1  # so that nothing is missing from the stack
    analysis = _answer(tmp_path, slices, coverage_mm=50.0)
    assert analysis.outcome is Outcome.UNDETERMINED
    assert [reason.code for reason in analysis.reasons] == [ReasonCode.PART_NOT_ANALYSED]
    assert f"{len(numbers)} images lie where nothing was analysed" in analysis.reasons[0].text
    assert not analysis.left_out  # of a series that was taken


@pytest.mark.parametrize("frame", ["2.25.9", "2.25.10", None])
def test_a_lacking_series_whose_places_are_covered_or_unknown_changes_no_answer(
    tmp_path: Path, frame: str | None
) -> None:
    few = _series(HOLED, FrameOfReferenceUID=frame)[12:16]
    analysis = _answer(tmp_path, _series(WHOLE, FrameOfReferenceUID="2.25.9"), few)
    assert analysis.outcome is Outcome.ABSENT


@pytest.mark.parametrize(("kept", "outcome"), [(28, Outcome.ABSENT), (14, Outcome.UNDETERMINED)])
def test_what_the_site_alone_refuses_counts_where_nothing_else_shows_that_part(
    tmp_path: Path, kept: int, outcome: Outcome
) -> None:
    """A series that is refused by the site beside one that shows the same, or only its lower half."""
    refused = _series(HOLED, SeriesDescription="twin")
    rules = rules_of(rule('tag = "SeriesDescription", equals = "twin"'))
    analysis = _answer(tmp_path, _series(WHOLE)[:kept], refused, rules=rules, coverage_mm=50.0)
    assert [v.reason.code for v in analysis.verdicts if not v.taken] == [ReasonCode.REFUSED_BY_SITE]
    assert analysis.outcome is outcome
    assert not any("was not looked at" in text for text in analysis.degradations)
    if outcome is Outcome.UNDETERMINED:
        (reason,) = analysis.reasons
        assert reason.code is ReasonCode.PART_NOT_ANALYSED
        assert reason.text.endswith("14 images lie where nothing was analysed: not here")


def test_what_the_built_in_rules_refuse_too_lacks_in_nothing(tmp_path: Path) -> None:
    refused = _series(HOLED, SeriesDescription="twin", BodyPartExamined="NECK")
    rules = rules_of(rule('tag = "SeriesDescription", equals = "twin"'))
    analysis = _answer(tmp_path, _series(WHOLE)[:14], refused, rules=rules, coverage_mm=50.0)
    assert analysis.outcome is Outcome.ABSENT


def _with_a_part_lacking(folder: Path) -> list[Dataset]:
    """A head whose lowest slices are a CT series without calibration."""
    slices = _series(WHOLE, FrameOfReferenceUID="2.25.9")
    for dataset in slices[:8]:
        dataset.SeriesInstanceUID, dataset.SeriesDescription = HOLED, "twin"
        dataset.Modality, dataset.SOPClassUID = "CT", CTImageStorage
    for place, dataset in enumerate(slices[8:]):
        dataset.InstanceNumber = place + 1  # so that nothing is missing from the stack
    return slices


def test_a_series_that_lacks_something_counts_though_the_site_refuses_it_as_well(tmp_path: Path) -> None:
    rules = rules_of(rule('tag = "SeriesDescription", equals = "twin"'))
    analysis = _answer(tmp_path, _with_a_part_lacking(tmp_path), rules=rules, coverage_mm=50.0)
    assert ReasonCode.REFUSED_BY_SITE in {verdict.reason.code for verdict in analysis.verdicts}
    assert analysis.outcome is Outcome.UNDETERMINED


def test_a_series_that_may_stand_against_absent_is_part_of_what_was_judged(tmp_path: Path) -> None:
    """Whether it comes with the others or late: else the first answer would stand."""
    slices = _with_a_part_lacking(tmp_path)
    digests = []
    for part in (slices[8:], slices[:8]):
        for dataset in part:
            (tmp_path / f"{dataset.SOPInstanceUID}.dcm").write_bytes(part10(dataset))
        (study,) = scan_folder(tmp_path).studies
        selection = select_series(study, RULE)
        assert [series.series_instance_uid for series in selection.taken] == [WHOLE]
        digests.append(selection.input_digest)
    assert digests[0] != digests[1]
