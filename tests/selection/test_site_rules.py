"""The first rule of a site that matches decides, and only about what may be decided."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from neurotriage.core.values import Outcome, ReasonCode, SeriesVerdict, StudyManifest
from tests.eligibility.rule import RULE
from tests.imaging.made import SAGITTAL, ct_slice_of, enhanced_of, picture, slice_of, study_in
from tests.selection.series import stack_of
from tests.selection.site import rule, rules_of
from worker.eligibility import outcome_of_refusals
from worker.selection import choose

pytestmark = pytest.mark.unit


def _verdict(
    folder: Path, rules: str, *, make: Any = slice_of, peer: str = "", **attributes: Any
) -> SeriesVerdict:
    study = study_in(folder, stack_of(make, **attributes))
    (verdict,) = choose(study, RULE, rules_of(rules), peer).verdicts
    return verdict


def test_a_refusal_has_the_sentence_of_the_site_its_own_code_and_names_rule_and_tag(tmp_path: Path) -> None:
    found = _verdict(tmp_path, rule('tag = "ProtocolName", equals = "research"'), ProtocolName="RESEARCH ")
    assert (found.taken, found.reason.code, found.reason.text) == (
        False, ReasonCode.REFUSED_BY_SITE, "not here",
    )  # fmt: skip
    assert found.evidence == 'rule "a rule": (0018,1030) ProtocolName = RESEARCH'
    assert found.rule == "a rule"


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        ('tag = "SeriesDescription", equals = "t1 AX"', True),
        ('tag = "SeriesDescription", equals = "t1"', False),
        ('tag = "SeriesDescription", matches = "^t1"', True),
        ('tag = "SeriesDescription", matches = "^ax"', False),
        ('tag = "SeriesDescription", one_of = ["T2", "T1 AX"]', True),
        ('tag = "SeriesDescription", one_of = ["T2"]', False),
        ('tag = "(0008,103E)", present = true', True),
        ('tag = "SeriesDescription", absent = true', False),
        ('tag = "ContrastBolusAgent", absent = true', True),
        ('tag = "ContrastBolusAgent", matches = ".*"', False),
        ('tag = "ImageType", equals = "PRIMARY"', True),
        ('tag = "ImageType", equals = "DERIVED"', False),
        ('tag = "EchoTime", between = [80.0, 90.5]', True),
        ('tag = "EchoTime", between = [90.6, 99]', False),
        ('tag = "EchoTime", at_least = 90.5', True),
        ('tag = "EchoTime", at_most = 90.4', False),
        ('tag = "EchoTime", equals = 90.5', True),
        ('tag = "EchoTime", one_of = [1, 90.5]', True),
        ('tag = "EchoTrainLength", at_least = 0', False),
        ('tag = "RequestAttributesSequence", absent = true', True),
        ('fact = "slices", equals = 12', True),
        ('fact = "slices", between = [1, 11]', False),
        ('fact = "thickness_mm", at_most = 5', True),
        ('fact = "thickness_mm", at_most = 4.9', False),
        ('fact = "modality", equals = "mr"', True),
        ('fact = "orientation", equals = "axial"', True),
        ('fact = "orientation", one_of = ["coronal", "sagittal"]', False),
        ('fact = "peer", equals = "CT1"', True),
        ('fact = "peer", equals = "CT2"', False),
        ('not = { fact = "peer", equals = "CT2" }', True),
        ('all = [{ fact = "slices", equals = 12 }, { fact = "modality", equals = "CT" }]', False),
        ('any = [{ fact = "slices", equals = 12 }, { fact = "modality", equals = "CT" }]', True),
    ],
)
def test_a_condition_holds_as_it_says(tmp_path: Path, when: str, matches: bool) -> None:
    found = _verdict(tmp_path, rule(when), peer="CT1", SeriesDescription="T1 AX", EchoTime="90.5")
    assert (found.reason.code is ReasonCode.REFUSED_BY_SITE) is matches


def test_an_unknown_peer_equals_nothing(tmp_path: Path) -> None:
    assert _verdict(tmp_path, rule('fact = "peer", matches = ""')).taken


def test_the_orientation_is_that_of_the_slices(tmp_path: Path) -> None:
    slices = [
        slice_of(
            picture(seed=n), n, ImageOrientationPatient=list(SAGITTAL), ImagePositionPatient=[5.0 * n, 0, 0]
        )
        for n in range(1, 13)
    ]
    rules = rules_of(rule('fact = "orientation", equals = "sagittal"'))
    (found,) = choose(study_in(tmp_path, slices), RULE, rules).verdicts
    assert found.evidence == 'rule "a rule": orientation = sagittal'


def test_an_attribute_of_an_enhanced_object_is_found_in_its_functional_groups(tmp_path: Path) -> None:
    pictures = [picture(seed=n) for n in range(12)]
    made = enhanced_of(pictures, [[0.0, 0.0, 5.0 * n] for n in range(12)])
    for when, matches in (("at_least = 5", True), ("at_least = 6", False)):
        rules = rules_of(rule(f'tag = "SliceThickness", {when}'))
        (found,) = choose(study_in(tmp_path, [made]), RULE, rules).verdicts
        assert (found.rule != "") is matches


def test_a_private_attribute_is_asked_for_by_its_tag(tmp_path: Path) -> None:
    slices = stack_of(slice_of)
    for dataset in slices:
        dataset.private_block(0x0019, "MAKER", create=True).add_new(0x0C, "LO", "SPECIAL")
    rules = rules_of(rule('tag = "(0019,100C)", equals = "special"'))
    (found,) = choose(study_in(tmp_path, slices), RULE, rules).verdicts
    assert found.evidence == 'rule "a rule": (0019,100C) = SPECIAL'


def test_what_is_asked_of_the_patient_is_not_repeated(tmp_path: Path) -> None:
    found = _verdict(tmp_path, rule('tag = "PatientName", matches = "doe"'), PatientName="Doe^Jane")
    assert (found.rule, found.evidence) == ("a rule", 'rule "a rule": (0010,0010) PatientName')


def test_a_long_value_is_repeated_in_part(tmp_path: Path) -> None:
    found = _verdict(tmp_path, rule('tag = "ImageComments", present = true'), ImageComments="x" * 200)
    assert found.evidence == f'rule "a rule": (0020,4000) ImageComments = {"x" * 120}...'


def test_most_images_decide_where_they_differ(tmp_path: Path) -> None:
    slices = stack_of(slice_of)
    for number, dataset in enumerate(slices):
        dataset.ProtocolName = "A" if number < 5 else "B"
    for name, matches in (("A", False), ("B", True)):
        rules = rules_of(rule(f'tag = "ProtocolName", equals = "{name}"'))
        (found,) = choose(study_in(tmp_path, slices), RULE, rules).verdicts
        assert (found.rule != "") is matches


def test_the_first_rule_that_matches_decides(tmp_path: Path) -> None:
    any_series = 'fact = "modality", present = true'
    first, second = rule(any_series, "take", name="first"), rule(any_series, "refuse", name="second")
    knee = {"BodyPartExamined": "KNEE"}
    assert _verdict(tmp_path, first + second, **knee).rule == "first"
    assert _verdict(tmp_path, second + first, **knee).reason.code is ReasonCode.REFUSED_BY_SITE


BY_WORDS = [
    ({"BodyPartExamined": "KNEE"}, ReasonCode.OTHER_BODY_PART),
    ({"PatientID": "PHANTOM 3"}, ReasonCode.NOT_A_HUMAN),
    ({"SeriesDescription": "SCOUT"}, ReasonCode.LOCALIZER),
    ({"SeriesDescription": "ASL"}, ReasonCode.PERFUSION),
    ({"SeriesDescription": "DWI"}, ReasonCode.DIFFUSION),
    ({"SeriesDescription": "FMRI"}, ReasonCode.FUNCTIONAL),
    ({"SeriesDescription": "TOF"}, ReasonCode.ANGIOGRAPHY),
    ({"SeriesDescription": "B0 MAP"}, ReasonCode.FIELD_MAP),
    ({"SeriesDescription": "MIP"}, ReasonCode.DERIVED),
]
FINAL = [
    ({"PatientSpeciesDescription": "CANINE"}, ReasonCode.NOT_A_HUMAN),
    ({"PatientBreedDescription": "Poodle"}, ReasonCode.NOT_A_HUMAN),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, ReasonCode.LOCALIZER),
    ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, ReasonCode.DERIVED),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "MOSAIC"]}, ReasonCode.MOSAIC),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, ReasonCode.FIELD_MAP),
    ({"AngioFlag": "Y"}, ReasonCode.ANGIOGRAPHY),
    ({"Modality": "PT"}, ReasonCode.OTHER_MODALITY),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, ReasonCode.SECONDARY_CAPTURE),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, ReasonCode.NOT_AN_IMAGE),
    ({"PixelData": None}, ReasonCode.NO_PIXELS),
    ({"PhotometricInterpretation": "RGB"}, ReasonCode.COLOUR),
    ({"ImagePositionPatient": None}, ReasonCode.NO_GEOMETRY),
    ({"NumberOfTemporalPositions": 40}, ReasonCode.FUNCTIONAL),
]
TAKE_ALL = rule("not = { tag = 'ContrastBolusAgent', equals = 'never' }", "take")


@pytest.mark.parametrize(("attributes", "code"), BY_WORDS, ids=[str(row[1]) for row in BY_WORDS])
def test_a_rule_takes_what_words_alone_spoke_against(
    tmp_path: Path, attributes: dict[str, Any], code: ReasonCode
) -> None:
    study = study_in(tmp_path, stack_of(slice_of, **attributes))
    (before,) = choose(study, RULE).verdicts
    (now,) = choose(study, RULE, rules_of(TAKE_ALL)).verdicts
    assert (before.taken, before.reason.code) == (False, code)
    assert (now.taken, now.rule) == (True, "a rule")


@pytest.mark.parametrize("named", [False, True], ids=["as it is", "and named a knee, too"])
@pytest.mark.parametrize(("attributes", "code"), FINAL, ids=[str(row[0])[:40] for row in FINAL])
def test_no_rule_takes_what_is_no_slice_of_a_volume(
    tmp_path: Path, attributes: dict[str, Any], code: ReasonCode, named: bool
) -> None:
    """Also where a refusal by words comes before the final one."""
    words = {"BodyPartExamined": "KNEE", "PatientID": "PHANTOM", "SeriesDescription": "FMRI SCOUT"}
    found = _verdict(tmp_path, TAKE_ALL, **({**words, **attributes} if named else attributes))
    assert (found.taken, found.reason.code, found.rule) == (False, code, "")
    assert found.evidence.endswith('(rule "a rule" cannot change that)')


def test_an_uncalibrated_ct_is_never_taken(tmp_path: Path) -> None:
    found = _verdict(tmp_path, TAKE_ALL, make=ct_slice_of, RescaleSlope=None, RescaleIntercept=None)
    assert (found.taken, found.reason.code) == (False, ReasonCode.NO_CALIBRATION)


def test_a_file_that_cannot_be_read_is_never_taken(tmp_path: Path) -> None:
    study = study_in(tmp_path, [slice_of(picture())])
    study.series[0].instances[0].path.write_bytes(b"gone")
    (found,) = choose(study, RULE, rules_of(TAKE_ALL)).verdicts
    assert not found.taken


def _study(folder: Path, *names: str, slices: int = 5, **attributes: Any) -> StudyManifest:
    datasets: list[Dataset] = [
        slice_of(
            picture(), number, SeriesInstanceUID=f"2.25.{300 + place}", SeriesDescription=name, **attributes
        )
        for place, name in enumerate(names)
        for number in range(1, slices + 1)
    ]
    return study_in(folder, datasets)


def test_what_a_rule_prefers_comes_before_what_shows_more(tmp_path: Path) -> None:
    study = _study(tmp_path, "T1 +C", "FLAIR", "T2", "T1", "PD")
    by_name = lambda choice: [series.facts.texts["SeriesDescription"] for series in choice.taken]  # noqa: E731
    assert by_name(choose(study, RULE)) == ["T1 +C", "FLAIR", "T2", "T1"]
    pd = rule('tag = "SeriesDescription", equals = "PD"', "prefer", name="pd")
    t2 = rule('tag = "SeriesDescription", equals = "T2"', "prefer", name="t2")
    assert by_name(choose(study, RULE, rules_of(pd))) == ["PD", "T1 +C", "FLAIR", "T2"]
    assert by_name(choose(study, RULE, rules_of(pd + t2))) == ["PD", "T2", "T1 +C", "FLAIR"]
    assert by_name(choose(study, RULE, rules_of(t2 + pd))) == ["T2", "PD", "T1 +C", "FLAIR"]
    lost = next(v for v in choose(study, RULE, rules_of(pd)).verdicts if v.description == "T1")
    assert (lost.reason.code, lost.rule) == (ReasonCode.LOWER_RANK, "")


def test_a_rule_that_prefers_takes_nothing(tmp_path: Path) -> None:
    found = _verdict(tmp_path, rule('fact = "slices", at_least = 1', "prefer"), BodyPartExamined="KNEE")
    assert (found.taken, found.reason.code, found.rule) == (False, ReasonCode.OTHER_BODY_PART, "")


def test_a_study_that_the_site_refuses_is_not_eligible_and_not_said_to_have_no_head(tmp_path: Path) -> None:
    study = _study(tmp_path, "T1", "T2", BodyPartExamined="HEAD")
    rules = rules_of(rule('fact = "modality", equals = "MR"'))
    outcome, reasons = outcome_of_refusals(choose(study, RULE, rules).verdicts)
    assert outcome is Outcome.NOT_ELIGIBLE
    assert [(reason.code, reason.text) for reason in reasons] == [(ReasonCode.REFUSED_BY_SITE, "not here")]


RULES = [
    rule('tag = "SeriesDescription", matches = "T2"', "refuse", name="t2"),
    rule('fact = "slices", at_least = 6', "prefer", name="long"),
    rule('tag = "BodyPartExamined", equals = "KNEE"', "take", name="knee"),
    rule('not = { tag = "EchoTime", present = true }', "prefer", name="no echo"),
    rule('tag = "SeriesDescription", equals = "never"', "refuse", name="never"),
]
SERIES = st.lists(
    st.fixed_dictionaries(
        {
            "SeriesDescription": st.sampled_from(["T1", "T2", "FLAIR", "SCOUT", "ADC"]),
            "BodyPartExamined": st.sampled_from(["HEAD", "KNEE", ""]),
            "EchoTime": st.sampled_from([None, "90"]),
        }
    ),
    min_size=1,
    max_size=5,
)


@given(SERIES, st.permutations(RULES), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_series_and_images_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, series: list[dict[str, Any]], rules: list[str], random: Any
) -> None:
    datasets = [
        slice_of(picture(seed=n), n, SeriesInstanceUID=f"2.25.{400 + place}", **attributes)
        for place, attributes in enumerate(series)
        for n in range(1, 6 + place)
    ]
    study = study_in(tmp_path_factory.mktemp("study"), datasets)
    site = rules_of("".join(rules))
    mixed = lambda parts: tuple(random.sample(parts, len(parts)))  # noqa: E731
    series_mixed = tuple(replace(one, instances=mixed(one.instances)) for one in mixed(study.series))
    shuffled = replace(study, series=series_mixed)
    by_uid = lambda verdicts: {verdict.series_instance_uid: verdict for verdict in verdicts}  # noqa: E731
    one, other = choose(study, RULE, site), choose(shuffled, RULE, site)
    assert by_uid(one.verdicts) == by_uid(other.verdicts)
    ranked = [[series.rule for series in choice.taken] for choice in (one, other)]
    assert ranked[0] == ranked[1]
