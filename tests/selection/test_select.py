"""The best series decide, and a study without one ends with a named outcome."""

import struct
from pathlib import Path

import pytest

from neurotriage.core.values import Outcome, Reason, ReasonCode, SeriesVerdict, StudyManifest
from tests.eligibility.rule import RULE
from tests.imaging.made import ct_slice_of, picture, series_in, slice_of, study_in
from worker.eligibility import outcome_of_refusals
from worker.selection import choose

pytestmark = pytest.mark.unit


def _refused(code: ReasonCode, head_meant: bool = False) -> SeriesVerdict:
    return SeriesVerdict("2.25.1", "MR", "", False, Reason(code, code.value), "", head_meant)


def test_each_weighting_is_represented_before_any_comes_twice(tmp_path: Path) -> None:
    names = ["T1", "T1", "T2", "T2", "FLAIR", "T1 +C", "PD"]
    datasets = [
        slice_of(picture(), number, SeriesInstanceUID=f"2.25.{300 + place}", SeriesDescription=name)
        for place, name in enumerate(names)
        for number in range(1, 6 + place % 2)
    ]
    verdicts = choose(study_in(tmp_path, datasets), RULE).verdicts
    assert len(verdicts) == len(names)
    taken = {verdict.description for verdict in verdicts if verdict.taken}
    assert taken == {"T1 +C", "FLAIR", "T2", "T1"}
    longer = [v.series_instance_uid for v in verdicts if v.taken and v.description in ("T1", "T2")]
    assert sorted(longer) == ["2.25.301", "2.25.303"]
    assert {v.reason.code for v in verdicts if not v.taken} == {ReasonCode.LOWER_RANK}


def test_verdicts_keep_the_order_of_the_manifest(tmp_path: Path) -> None:
    datasets = [
        slice_of(picture(), number, SeriesInstanceUID=f"2.25.{uid}")
        for uid in (309, 301, 305)
        for number in (1, 2)
    ]
    study = study_in(tmp_path, datasets)
    uids = [verdict.series_instance_uid for verdict in choose(study, RULE).verdicts]
    assert uids == [series.series_instance_uid for series in study.series]


def test_a_file_that_broke_after_intake_gives_a_reason(tmp_path: Path) -> None:
    study = study_in(tmp_path, [slice_of(picture())])
    study.series[0].instances[0].path.write_bytes(b"gone")
    (verdict,) = choose(study, RULE).verdicts
    assert not verdict.taken
    assert verdict.reason.text


@pytest.mark.parametrize(
    ("code", "head_meant", "outcome"),
    [
        (ReasonCode.OTHER_BODY_PART, False, Outcome.NOT_ELIGIBLE),
        (ReasonCode.LOCALIZER, True, Outcome.NOT_ELIGIBLE),
        (ReasonCode.NOT_A_HEAD, True, Outcome.NOT_ELIGIBLE),
        (ReasonCode.NO_MODEL, True, Outcome.NOT_ELIGIBLE),
        (ReasonCode.TOO_FEW_SLICES, True, Outcome.POOR_QUALITY),
        (ReasonCode.TOO_FEW_SLICES, False, Outcome.NOT_ELIGIBLE),
        (ReasonCode.UNREADABLE_PIXELS, True, Outcome.POOR_QUALITY),
        (ReasonCode.NO_GEOMETRY, True, Outcome.POOR_QUALITY),
        (ReasonCode.OUT_OF_DISTRIBUTION, True, Outcome.POOR_QUALITY),
        (ReasonCode.OUT_OF_DISTRIBUTION, False, Outcome.NOT_ELIGIBLE),
        (ReasonCode.NOISE, False, Outcome.POOR_QUALITY),
        (ReasonCode.MISSING_IMAGES, True, Outcome.INCOMPLETE),
        (ReasonCode.NO_CALIBRATION, False, Outcome.UNDETERMINED),
        (ReasonCode.HEADER_CONTRADICTS_PIXELS, False, Outcome.UNDETERMINED),
    ],
)
def test_a_refused_study_ends_as_its_reason_says(
    code: ReasonCode, head_meant: bool, outcome: Outcome
) -> None:
    found, reasons = outcome_of_refusals([_refused(code, head_meant)])
    assert found is outcome
    assert code in [reason.code for reason in reasons]


def test_the_gravest_refusal_decides() -> None:
    verdicts = [
        _refused(ReasonCode.LOCALIZER, True),
        _refused(ReasonCode.TOO_FEW_SLICES, True),
        _refused(ReasonCode.MISSING_IMAGES, True),
    ]
    outcome, reasons = outcome_of_refusals(verdicts)
    assert outcome is Outcome.INCOMPLETE
    assert [reason.code for reason in reasons] == [ReasonCode.MISSING_IMAGES]


def test_a_head_without_a_model_is_not_called_no_head() -> None:
    verdicts = [_refused(ReasonCode.LOCALIZER, True), _refused(ReasonCode.NO_MODEL, True)]
    outcome, reasons = outcome_of_refusals(verdicts)
    assert outcome is Outcome.NOT_ELIGIBLE
    assert [reason.code for reason in reasons] == [ReasonCode.NO_MODEL]


def test_a_study_without_series_is_not_eligible_with_a_reason() -> None:
    outcome, reasons = outcome_of_refusals([])
    assert outcome is Outcome.NOT_ELIGIBLE
    assert [reason.code for reason in reasons] == [ReasonCode.NO_HEAD_SERIES]


def test_headers_are_kept_of_a_bounded_number_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.selection.select.MAX_KEPT_HEADERS", 5)
    series = series_in(tmp_path, [ct_slice_of(picture(seed=n), n) for n in range(1, 9)])
    choice = choose(StudyManifest("2.25.1", 1, (series,), "test"), RULE)
    (read,) = (*choice.taken, *choice.others)
    assert [image.of.header is not None for image in read.images] == [True] * 5 + [False] * 3


def test_a_sequence_that_is_cut_short_costs_no_more_than_itself(tmp_path: Path) -> None:
    study = study_in(tmp_path, [slice_of(picture(seed=n), n) for n in range(1, 13)])
    region = struct.pack("<HH2sHL", 0x0008, 0x2218, b"SQ", 0, 2) + bytes(2)  # two bytes of an item
    for instance in study.series[0].instances:
        data = instance.path.read_bytes()
        at = data.index(struct.pack("<HH2s", 0x0010, 0x0020, b"LO"))
        instance.path.write_bytes(data[:at] + region + data[at:])
    (verdict,) = choose(study, RULE).verdicts
    assert verdict.taken
