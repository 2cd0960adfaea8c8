"""Rebuilt, a result object is the same; its UIDs follow from what shapes it, and from nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurotriage.core.evidence import Evidence
from neurotriage.core.values import (
    REPROCESSED,
    SERIES_LABELS,
    Analysis,
    Claims,
    Outcome,
    OverlayStyle,
    Reason,
    ReasonCode,
    ResultKind,
    ResultObject,
    SeriesLabel,
    SeriesVerdict,
    Triage,
)
from neurotriage.phantom import INSTALLATION, Made, make_analysis, make_study
from worker.results import build

pytestmark = pytest.mark.unit

# Quick to build. Triage-only results have a page, but neither key objects nor a mask.
_KINDS: Final = frozenset({ResultKind.PAGE, ResultKind.KEY_OBJECTS, ResultKind.SEGMENTATION})


@dataclass(frozen=True)
class Request:
    """One call of ``build``."""

    analysis: Analysis
    evidence: Evidence
    made: Made
    installation_uid: str = INSTALLATION
    options: Mapping[str, Any] = field(default_factory=dict)

    def objects(self, kinds: frozenset[ResultKind] = _KINDS) -> tuple[ResultObject, ...]:
        results = build(
            self.analysis,
            self.evidence,
            self.made.manifest,
            self.installation_uid,
            kinds=kinds,
            **self.options,
        )
        return results.objects

    def uids(self) -> frozenset[str]:
        """Those of the objects and of their series."""
        return frozenset(uid for o in self.objects() for uid in (o.sop_instance_uid, o.series_instance_uid))

    def analysed(self, **changes: Any) -> "Request":
        return replace(self, analysis=replace(self.analysis, **changes))

    def asked(self, **options: Any) -> "Request":
        return replace(self, options={**self.options, **options})

    def predicted(self, **changes: Any) -> "Request":
        return self.analysed(predictions=tuple(replace(p, **changes) for p in self.analysis.predictions))


def _labelled(number: int, words: str) -> Mapping[ResultKind, SeriesLabel]:
    labels = SERIES_LABELS.items()
    return {kind: SeriesLabel(label.number + number, f"{label.description}{words}") for kind, label in labels}


def _by_rule(request: Request, rule: str, sentence: str) -> tuple[SeriesVerdict, ...]:
    *others, last = request.analysis.verdicts
    return *others, replace(last, rule=rule, reason=Reason(ReasonCode.REFUSED_BY_SITE, sentence))


_INGREDIENTS: Final = {
    "installation": lambda request: replace(request, installation_uid="2.25.7"),
    "study": lambda request: request.analysed(study_instance_uid="2.25.8"),
    "instances": lambda request: request.analysed(input_digest="0" * 64),
    "models": lambda request: request.predicted(sha256="0" * 64),
    "software version": lambda request: request.analysed(software_version="0.1.1"),
    "claims": lambda request: request.asked(claims=Claims.TRIAGE_ONLY),
    "rule of the site": lambda request: request.analysed(verdicts=_by_rule(request, "a rule", "not here")),
    "name of that rule": lambda request: request.analysed(verdicts=_by_rule(request, "another", "not here")),
    "its sentence": lambda request: request.analysed(verdicts=_by_rule(request, "a rule", "nor there")),
    "series numbers": lambda request: request.asked(labels=_labelled(1, "")),
    "series descriptions": lambda request: request.asked(labels=_labelled(0, "!")),
}
_OTHER: Final = {
    "revision": lambda request: request.analysed(revision=7),
    "time": lambda request: request.analysed(analysed_at=datetime(2027, 1, 2, 3, 4, tzinfo=UTC)),
    "triage": lambda request: request.analysed(triage=Triage.ROUTINE),
    "built-in verdicts": lambda request: request.analysed(verdicts=_by_rule(request, "", "other words")),
    "reasons": lambda request: request.analysed(reasons=(Reason(ReasonCode.TUMOUR, "other words"),)),
    "degradations": lambda request: request.analysed(degradations=("a light model answered",)),
    "timings": lambda request: request.analysed(timings_s={"vision": 1.0}),
    "engine": lambda request: request.predicted(engine="onnxruntime", device="cuda"),
    "model's name": lambda request: request.predicted(model="renamed", version="9"),
    "probability": lambda request: request.predicted(probabilities={"tumour": 0.91}, threshold=0.6),
    "overlay style": lambda request: request.asked(overlay=OverlayStyle.OUTLINE),
    "one model twice": lambda request: request.analysed(predictions=2 * request.analysis.predictions),
}


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> Request:
    made = make_study(tmp_path_factory.mktemp("small"), shape=(64, 64), slices=6)
    return Request(*make_analysis(made, Outcome.PRESENT), made)


@pytest.fixture(scope="module")
def uids(request_: Request) -> frozenset[str]:
    return request_.uids()


def test_every_kind_built_twice_has_the_same_bytes(request_: Request) -> None:
    first, second = (request_.objects(frozenset(ResultKind)) for _ in range(2))
    assert {made.kind for made in first} == set(ResultKind)
    assert [(made.sop_instance_uid, made.data) for made in first] == [
        (made.sop_instance_uid, made.data) for made in second
    ]


def test_kind_and_index_tell_the_objects_of_one_analysis_apart(request_: Request) -> None:
    objects = request_.objects(_KINDS | {ResultKind.OVERLAY})
    assert len({made.sop_instance_uid for made in objects}) == len(objects)
    assert len({made.index for made in objects if made.kind is ResultKind.OVERLAY}) > 1
    series = {kind: {o.series_instance_uid for o in objects if o.kind is kind} for kind in ResultKind}
    assert not any(series[a] & series[b] for a, b in combinations(ResultKind, 2))


@pytest.mark.parametrize("name", _INGREDIENTS)
def test_each_ingredient_gives_every_object_and_series_another_uid(
    name: str, request_: Request, uids: frozenset[str]
) -> None:
    changed = _INGREDIENTS[name](request_).uids()
    assert changed
    assert not changed & uids


def test_a_repetition_that_somebody_asked_for_has_uids_of_its_own(
    request_: Request, uids: frozenset[str]
) -> None:
    manifests = [replace(request_.made.manifest, completed_by=REPROCESSED, revision=n) for n in (2, 3)]
    again = [replace(request_, made=replace(request_.made, manifest=m)).uids() for m in manifests]
    assert not any(a & b for a, b in combinations([uids, *again], 2))


@settings(deadline=None, max_examples=5)
@given(st.lists(st.sampled_from(sorted(_OTHER)), unique=True))
def test_nothing_else_changes_a_uid(request_: Request, uids: frozenset[str], names: list[str]) -> None:
    changed = request_
    for name in names:
        changed = _OTHER[name](changed)
    assert changed.uids() == uids


@settings(deadline=None, max_examples=5)
@given(st.sets(st.sets(st.sampled_from(sorted(_INGREDIENTS))).map(frozenset), min_size=2, max_size=2))
def test_two_sets_of_changed_ingredients_share_no_uid(request_: Request, sets: set[frozenset[str]]) -> None:
    requests = []
    for names in sets:
        changed = request_
        for name in sorted(names):
            changed = _INGREDIENTS[name](changed)
        requests.append(changed)
    first, second = requests
    assert not first.uids() & second.uids()
