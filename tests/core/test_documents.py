"""What is kept and shown of an analysis: nothing lost, and exactly the documented keys."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from neurotriage.core.documents import from_document, to_document
from neurotriage.core.evidence import Evidence, SliceEvidence
from neurotriage.core.result_json import ObjectState, refusal_entry, study_entry
from neurotriage.core.values import (
    Analysis,
    Finding,
    Outcome,
    Prediction,
    Reason,
    ReasonCode,
    SeriesDecision,
    SeriesVerdict,
    Side,
    SliceScores,
    Triage,
)

pytestmark = pytest.mark.unit

DICTIONARY = Path(__file__).parents[2] / "docs" / "data-dictionary.md"
OBJECT = ObjectState("page", "1.2.840.10008.5.1.4.1.1.7", "2.25.7", "results/7.dcm", "stored", "pacs")


def full_analysis() -> Analysis:
    """Every field has a value that is not its default."""
    reason = Reason(ReasonCode.TUMOUR, "tumour found in „T1“ – 腫瘍")
    score = 1 / 3  # no decimal of few digits
    return Analysis(
        study_instance_uid="2.25.1",
        revision=3,
        analysed_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2))),
        outcome=Outcome.PRESENT,
        triage=Triage.URGENT,
        reasons=(reason, Reason(ReasonCode.LOOK_ALIKE, "")),
        verdicts=(SeriesVerdict("2.25.2", "MR", "T1", True, reason, "ImageType = A\\B", True),),
        predictions=(
            Prediction("m", "1", "ab" * 32, "MR", {"tumour": score}, 0.5, "2.25.2", 2, "onnx", "cuda:0"),
        ),
        findings=(
            Finding(
                1,
                "2.25.2",
                "2.25.3",
                7,
                6,
                (1, 2, 30, 40),
                ((1.5, 2.0), (3.25, 4.0), (1.5, 2.0)),
                12.345678,
                Side.MIDLINE,
                score,
            ),
        ),
        series=(SeriesDecision("2.25.2", Outcome.PRESENT, reason, SliceScores((score, 1.0), (0.0, 0.25))),),
        input_digest="cd" * 32,
        software_version="1.2.3",
        degradations=("ran on the CPU",),
        timings_s={"vision": 1.25},
    )


def bare_analysis() -> Analysis:
    return Analysis(
        study_instance_uid=None,
        revision=1,
        analysed_at=datetime(2026, 1, 2, tzinfo=UTC),
        outcome=Outcome.FAILED,
        triage=Triage.NONE,
        reasons=(),
        verdicts=(),
        predictions=(),
        findings=(),
        series=(),
        input_digest="",
        software_version="0",
    )


@pytest.mark.parametrize("made", [full_analysis, bare_analysis])
def test_an_analysis_comes_back_from_the_database_as_it_was(made: Callable[[], Analysis]) -> None:
    analysis = made()
    document = json.loads(json.dumps(to_document(analysis)))
    again = from_document(document)
    assert again == analysis
    assert again.analysed_at.utcoffset() == analysis.analysed_at.utcoffset()
    assert type(again.findings) is tuple
    assert hash(again.reasons) == hash(analysis.reasons)


def test_a_document_that_is_no_analysis_is_refused() -> None:
    document = to_document(full_analysis())
    for wrong in ({}, {**document, "outcome": "perhaps"}, {**document, "revision": "third"}):
        with pytest.raises(ValidationError):
            from_document(wrong)


def _slice(number: int, frame: int | None) -> SliceEvidence:
    rng = np.random.default_rng(number)
    shape = (7 + number, 5)
    return SliceEvidence(
        "2.25.2",
        f"2.25.3.{number}",
        frame,
        number,
        1 / 3,
        rng.random(shape).astype(np.float16),
        rng.random(shape) > 0.5,
    )


def test_evidence_comes_back_as_it_was() -> None:
    evidence = Evidence((_slice(0, None), _slice(1, 4)), key=1)
    again = Evidence.from_bytes(evidence.to_bytes())
    assert again.key == 1
    for was, is_ in zip(evidence.slices, again.slices, strict=True):
        for name in ("series_instance_uid", "sop_instance_uid", "frame", "slice_index", "probability"):
            assert getattr(is_, name) == getattr(was, name)
        for name in ("heat", "mask"):
            np.testing.assert_array_equal(getattr(is_, name), getattr(was, name))
            assert getattr(is_, name).dtype == getattr(was, name).dtype


def test_no_evidence_comes_back_as_none() -> None:
    again = Evidence.from_bytes(Evidence().to_bytes())
    assert (again.slices, again.key) == ((), None)


def test_the_same_evidence_gives_the_same_bytes() -> None:
    assert Evidence((_slice(1, 2),), 0).to_bytes() == Evidence((_slice(1, 2),), 0).to_bytes()


def test_evidence_with_pickled_objects_in_it_is_not_opened() -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return pytest.fail, ("the pickle was opened",)

    buffer = io.BytesIO()
    np.savez(buffer, header=np.array([Trap()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        Evidence.from_bytes(buffer.getvalue())


def _table(heading: str, first_column: str) -> dict[str, str]:
    """The rows of the first table below a heading of the data dictionary, by their first cell."""
    section = DICTIONARY.read_text().split(f"## {heading}")[1].split("\n## ")[0]
    table = section.split(f"| {first_column} |")[1].split("\n\n")[0]
    cells = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    return {name: text for names, text in cells for name in re.findall(r"`(\w+)`", names)}


def _documented_keys() -> dict[str, str]:
    return _table("`result.json`", "key")


def test_result_json_has_exactly_the_documented_keys() -> None:
    entry = study_entry(full_analysis(), [OBJECT], {"received_to_ready": 1.0})
    assert set(entry) == set(_documented_keys())


@pytest.mark.parametrize("key", ["predictions", "findings", "series", "results", "reasons"])
def test_the_parts_of_result_json_have_exactly_the_documented_keys(key: str) -> None:
    described = re.search(r"\{([^`]*)\}`?", _documented_keys()[key])
    assert described is not None
    names = re.findall(r"\w+", re.sub(r"\{[^}]*\}?", "", described[1]))
    (item, *_) = study_entry(full_analysis(), [OBJECT])[key]
    assert set(item) == set(names)


def test_the_entry_of_no_study_at_all_has_the_documented_keys_but_those_of_an_analysis() -> None:
    entry = refusal_entry(Reason(ReasonCode.NO_STUDY, "the folder holds no file"))
    assert set(_documented_keys()) - set(entry) == {"analysed_at", "software_version"}
    assert set(entry) <= set(_documented_keys())
    assert entry["reasons"] == [{"code": "no_study", "text": "the folder holds no file"}]


def test_result_json_is_plain_json_and_says_what_the_analysis_says() -> None:
    analysis = full_analysis()
    entry = json.loads(json.dumps(study_entry(analysis, [OBJECT], {"received_to_ready": 1.0})))
    assert entry["outcome"] == "present"
    assert entry["findings"][0]["box"] == [1, 2, 30, 40]
    assert entry["findings"][0]["frame"] == 7
    assert entry["findings"][0]["side"] == "midline"
    assert entry["series"][0]["reason"] == {"code": "tumour", "text": analysis.reasons[0].text}
    assert entry["results"][0]["destination"] == "pacs"
    assert entry["timings_s"] == {"vision": 1.25, "received_to_ready": 1.0}
    assert datetime.fromisoformat(entry["analysed_at"]) == analysis.analysed_at


def test_every_reason_code_is_in_the_data_dictionary_and_no_other() -> None:
    assert set(_table("Reason codes", "code")) == {code.value for code in ReasonCode}


def test_every_outcome_is_in_the_data_dictionary_and_no_other() -> None:
    assert set(_table("`result.json`", "outcome")) == {outcome.value for outcome in Outcome}


def test_a_study_of_which_only_a_header_speaks_of_a_head_is_meant_as_one() -> None:
    analysis = full_analysis()
    assert analysis.head_meant
    (verdict,) = analysis.verdicts
    assert not replace(analysis, verdicts=(replace(verdict, head_meant=False),)).head_meant
