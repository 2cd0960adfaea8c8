"""Who gets which result."""

from dataclasses import replace

import pytest

from neurotriage.core.settings import Destination
from neurotriage.core.values import (
    USUAL_KINDS,
    Analysis,
    Outcome,
    Reason,
    ReasonCode,
    ResultKind,
    ResultObject,
)
from tests.db.rows import analysis
from worker.routing import named_kinds, wanted

pytestmark = pytest.mark.unit

KINDS = tuple(kind for kind in ResultKind if kind in USUAL_KINDS)
UNANALYSED = tuple(outcome for outcome in Outcome if not outcome.analysed)


def _wants(report_unanalysed: str, of: Analysis, kind: ResultKind) -> bool:
    destination = Destination.model_validate(
        {"name": "p", "ae_title": "P", "host": "h", "port": 1, "report_unanalysed": report_unanalysed}
    )
    return wanted(destination, of, ResultObject(kind, 0, "1.2", "2.25.1", "2.25.2", b""))


def _of(outcome: Outcome, *, head: bool) -> Analysis:
    plain = analysis(outcome)
    return replace(plain, verdicts=(replace(plain.verdicts[0], head_meant=head),))


@pytest.mark.parametrize(
    ("objects", "named"),
    [
        ([["ko"]], ["ko"]),
        ([["sc", "sr"], ["ko"]], ["ko"]),
        ([["sc", "ko"], ["page", "sr", "ko"], ["pdf"]], ["page", "ko"]),
    ],
)
def test_key_objects_name_what_all_get_that_get_key_objects(
    objects: list[list[str]], named: list[str]
) -> None:
    address = {"ae_title": "P", "host": "h", "port": 1}
    destinations = [
        Destination.model_validate({"name": str(number), **address, "objects": own})
        for number, own in enumerate(objects)
    ]
    assert named_kinds(destinations) == {ResultKind(name) for name in named}


def test_a_study_is_either_analysed_or_not() -> None:
    assert set(UNANALYSED) == {
        Outcome.POOR_QUALITY,
        Outcome.INCOMPLETE,
        Outcome.NOT_ELIGIBLE,
        Outcome.FAILED,
    }


@pytest.mark.parametrize("setting", ["head", "all", "none"])
@pytest.mark.parametrize("outcome", [Outcome.PRESENT, Outcome.ABSENT, Outcome.UNDETERMINED])
def test_every_destination_gets_all_of_an_analysed_study(setting: str, outcome: Outcome) -> None:
    assert all(_wants(setting, _of(outcome, head=False), kind) for kind in KINDS)


@pytest.mark.parametrize("outcome", UNANALYSED)
@pytest.mark.parametrize(
    ("setting", "head", "gets"),
    [
        ("head", True, [ResultKind.PAGE]),
        ("head", False, []),
        ("all", True, [ResultKind.PAGE]),
        ("all", False, [ResultKind.PAGE]),
        ("none", True, []),
        ("none", False, []),
    ],
)
def test_of_a_study_that_was_not_analysed_the_page_goes_where_it_is_wanted(
    outcome: Outcome, setting: str, head: bool, gets: list[ResultKind]
) -> None:
    assert [kind for kind in KINDS if _wants(setting, _of(outcome, head=head), kind)] == gets


@pytest.mark.parametrize("code", [ReasonCode.IDENTITY_CONFLICT, ReasonCode.IMAGES_WITHDRAWN])
@pytest.mark.parametrize("setting", ["head", "all", "none"])
def test_of_a_study_of_nobody_in_particular_nobody_gets_anything(setting: str, code: ReasonCode) -> None:
    of_nobody = replace(_of(Outcome.NOT_ELIGIBLE, head=True), reasons=(Reason(code, "whose it is"),))
    assert not any(_wants(setting, of_nobody, kind) for kind in KINDS)
