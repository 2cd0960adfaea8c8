"""Rules of a site over real studies: they change what they match, and never take what is no head slice."""

from pathlib import Path

from neurotriage.core.values import ReasonCode
from neurotriage.dicom.manifest import scan_folder
from tests.eligibility.rule import RULE
from tests.selection.site import rule, rules_of
from worker.selection import BUILT_IN_ALONE, choose, choose_among, read_series

NOTHING = [
    'tag = "SeriesDescription", equals = "no such series"',
    'tag = "(0019,10FE)", present = true',
    'fact = "slices", at_least = 100000',
    'fact = "peer", equals = "NOBODY"',
    'all = [{ fact = "modality", present = true }, { not = { fact = "modality", present = true } }]',
]


def test_rules_that_match_nothing_change_nothing_of_real_studies(data_dir: Path) -> None:
    actions = ("take", "refuse", "prefer")
    text = "".join(rule(when, actions[place % 3], name=f"r{place}") for place, when in enumerate(NOTHING))
    site, changed, seen = rules_of(text), [], 0
    for study in scan_folder(data_dir / "dicom").studies:
        judged = read_series(study, RULE, site.tags)
        alone, with_rules = (choose_among(judged, rules, "CT1") for rules in (BUILT_IN_ALONE, site))
        seen += len(judged)
        if alone != with_rules or alone.verdicts != choose(study, RULE).verdicts:
            changed.append(study.study_instance_uid)
    assert seen > 50
    assert not changed


def test_rules_over_real_studies_take_only_what_words_refused(data_dir: Path) -> None:
    """Everything is asked to be taken; what is then taken had been refused by words, or was taken before."""
    taken_now = set()
    site = rules_of(rule("not = { fact = 'peer', equals = 'never' }", "take"))
    for study in scan_folder(data_dir / "dicom").studies:
        judged = read_series(study, RULE, site.tags)
        before = choose_among(judged, BUILT_IN_ALONE, "").verdicts
        now = choose_among(judged, site, "").verdicts
        for series, was, then in zip(judged, before, now, strict=True):
            if then.taken and not was.taken:
                assert series.refusal is not None
                assert series.refusal.by_words
                taken_now.add(was.reason.code)
            if not then.taken and then.reason.code is not ReasonCode.LOWER_RANK:
                assert series.final is not None
    assert ReasonCode.OTHER_BODY_PART in taken_now
