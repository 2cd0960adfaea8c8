"""The sentences."""

from dataclasses import replace
from pathlib import Path

import pytest

from neurotriage.core.values import Outcome
from neurotriage.phantom import make_analysis, make_fused_analysis, make_pair, make_study
from worker.results import report_text
from worker.results.wording.text import (
    deciding_prediction,
    main_finding,
    modalities_sentence,
    percent,
    summary,
    verdict,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("outcome", "title"),
    [
        (Outcome.PRESENT, "TUMOUR SUSPECTED"),
        (Outcome.ABSENT, "NO TUMOUR FOUND BY THE MODEL"),
        (Outcome.UNDETERMINED, "UNDETERMINED: NO SAFE ANSWER"),
        (Outcome.POOR_QUALITY, "NOT ANALYSED: POOR QUALITY"),
        (Outcome.INCOMPLETE, "NOT ANALYSED: IMAGES MISSING"),
        (Outcome.NOT_ELIGIBLE, "NOT ANALYSED: NOT ELIGIBLE"),
        (Outcome.FAILED, "NOT ANALYSED: SOFTWARE FAILURE"),
    ],
)
def test_each_outcome_has_a_title_and_a_sentence(outcome: Outcome, title: str, tmp_path: Path) -> None:
    analysis, _ = make_analysis(make_study(tmp_path, slices=9), outcome)
    assert verdict(outcome).title == title
    assert summary(analysis).endswith(".")
    words = report_text(analysis)
    assert words.startswith(title)
    assert "RESEARCH USE ONLY - NOT FOR DIAGNOSIS" in words
    assert "refused: MR 3-PLANE LOC: a localizer, three planes" in words


def test_a_negative_says_what_was_covered_and_that_it_rules_nothing_out(tmp_path: Path) -> None:
    analysis, _ = make_analysis(make_study(tmp_path, slices=9), Outcome.ABSENT)
    assert summary(analysis) == (
        "No tumour found by the model on 9 slices of 1 series. This does not rule out disease."
    )


def test_a_series_of_two_stacks_is_one_series(tmp_path: Path) -> None:
    analysis, _ = make_analysis(make_study(tmp_path, slices=9), Outcome.ABSENT)
    (stack,) = analysis.series
    two = replace(analysis, series=(stack, replace(stack, stack=2)))
    assert summary(two).startswith("No tumour found by the model on 18 slices of 1 series.")


def test_the_lesion_is_told_of_the_series_that_decided(tmp_path: Path) -> None:
    analysis, _ = make_analysis(make_study(tmp_path, slices=9), Outcome.PRESENT)
    unsure = replace(analysis.findings[0], series_instance_uid="1.2.3", size_mm=99.0, slice_index=0)
    highest = replace(
        analysis.predictions[0], series_instance_uid=unsure.series_instance_uid, probabilities={"tumour": 0.6}
    )
    own = replace(analysis.predictions[0], series_instance_uid=analysis.findings[0].series_instance_uid)
    mixed = replace(analysis, findings=(unsure, *analysis.findings), predictions=(highest, own))
    assert summary(mixed) == summary(analysis)
    assert main_finding(mixed) == main_finding(analysis)


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.0, "<1 %"),
        (0.0099, "<1 %"),
        (0.01, "1 %"),
        (0.496, "50 %"),
        (0.836, "84 %"),
        (0.99, "99 %"),
        (0.995, ">99 %"),
        (1.0, ">99 %"),
    ],
)
def test_probabilities_never_read_as_certain(probability: float, words: str) -> None:
    assert percent(probability) == words


def test_a_fused_score_stands_beside_what_it_is_without_either_modality(tmp_path: Path) -> None:
    analysis, _ = make_analysis(make_study(tmp_path, slices=9), Outcome.PRESENT)
    alone = analysis.predictions[0]
    fused = replace(
        alone,
        model="fusion",
        modality="CT+MR",
        probabilities={"tumour": 0.931},
        left_out={"CT": 0.9, "MR": 0.4},
    )
    analysis = replace(analysis, predictions=(*analysis.predictions, fused))
    sentence = "Judged together: 93 %; without the CT 90 %, without the MR 40 %."
    assert modalities_sentence(analysis).endswith(sentence)
    assert "tumour without the CT 90 %" in report_text(analysis)
    assert deciding_prediction(analysis) is alone  # what decided stands first


def test_the_plain_report_says_of_which_series_models_and_findings_speak(tmp_path: Path) -> None:
    ct, mr = make_pair(tmp_path, slices=9)
    analysis, _ = make_fused_analysis(ct, mr, Outcome.PRESENT)
    lines = report_text(analysis).splitlines()
    descriptions = {item.series_instance_uid: item.description for item in analysis.verdicts}
    for made in (ct, mr):
        name = f"{made.modality} {descriptions[made.series_instance_uid]}"
        count = len([f for f in analysis.findings if f.series_instance_uid == made.series_instance_uid])
        assert count
        assert len([line for line in lines if line.startswith(f"Finding    {name}: ")]) == count
        assert [line for line in lines if line.startswith("Model ") and line.endswith(f", of {name}")]
    assert [line for line in lines if line.startswith("Model ") and line.endswith(", of the study")]


def test_a_finding_of_the_plain_report_says_whose_probability_it_tells(tmp_path: Path) -> None:
    analysis, _ = make_analysis(make_study(tmp_path, slices=9), Outcome.PRESENT)
    lines = [line for line in report_text(analysis).splitlines() if line.startswith("Finding")]
    assert all(line.endswith("; slice alone 97 %") for line in lines)
