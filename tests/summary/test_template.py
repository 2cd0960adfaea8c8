"""The text of the template, word for word."""

from dataclasses import replace

import pytest

from neurotriage.core.summary import Language, Origin, Section
from neurotriage.core.values import Claims, Outcome, ReasonCode, Triage
from tests.summary import made
from worker.summary import Facts, template
from worker.summary.facts import Probability

pytestmark = pytest.mark.unit
ENGLISH, GERMAN = Language.ENGLISH, Language.GERMAN


def _said(facts: Facts, section: Section, language: Language = ENGLISH, *, plain: bool = False) -> str:
    return template(facts, language, plain=plain).text_of(section)


def test_the_findings_of_one_lesion() -> None:
    assert _said(made.PRESENT, Section.FINDINGS) == (
        "Judged by the model: 25 slices of 1 series (MR). One suspected lesion on the left, 38 mm across, on "
        "slices 8-12 of 25 (MR). Probability of tumour by the model: 98 % (threshold 75 %). By the "
        "model the suspected tumour is more likely malignant (81 %); no tissue confirms this. No CT was "
        "analysed."
    )
    assert _said(made.PRESENT, Section.FINDINGS, GERMAN) == (
        "Vom Modell beurteilt: 25 Schichten aus 1 Serie (MRT). Eine vermutete Läsion links, größte "
        "Ausdehnung 38 mm, Schichten 8-12 von 25 (MRT). Wahrscheinlichkeit eines Tumors nach dem Modell: "
        "98 % (Schwelle 75 %). Nach dem Modell ist der vermutete Tumor eher bösartig (81 %); ohne "
        "Gewebebefund. "
        "Es wurde keine CT ausgewertet."
    )


@pytest.mark.parametrize(
    ("facts", "english", "german"),
    [
        (
            made.PRESENT,
            "Tumour suspected by the model. Triage: urgent.",
            "Das Modell äußert den Verdacht auf einen Tumor. Triage: dringend.",
        ),
        (
            made.ABSENT,
            "No tumour found by the model, which does not rule out disease. Triage: routine.",
            "Das Modell hat keinen Tumor gefunden, was eine Erkrankung nicht ausschließt. Triage: Routine.",
        ),
        (
            replace(made.UNDETERMINED, triage=Triage.PRIORITY),
            "Undetermined: there is no safe answer, neither for nor against a tumour. "
            "It may be a bleed, an infarct or a surgical clip. Triage: priority.",
            "Unbestimmt: Es gibt keine sichere Antwort, weder für noch gegen einen Tumor. "
            "Es kann eine Blutung, ein Infarkt oder ein chirurgischer Clip sein. Triage: vorrangig.",
        ),
        *(
            (
                made.not_judged(outcome, ReasonCode.INTERNAL_ERROR),
                "Not analysed, which speaks neither for nor against a tumour.",
                "Nicht ausgewertet, was weder für noch gegen einen Tumor spricht.",
            )
            for outcome in Outcome
            if not outcome.analysed
        ),
    ],
)
def test_each_outcome_has_its_impression(facts: Facts, english: str, german: str) -> None:
    assert _said(facts, Section.IMPRESSION) == english
    assert _said(facts, Section.IMPRESSION, GERMAN) == german


def test_several_lesions_are_counted_and_the_largest_three_described() -> None:
    four = made.present(lesions=(made.LEFT, made.RIGHT, made.MIDDLE, made.SMALL))
    words = _said(four, Section.FINDINGS)
    assert "4 lesions are suspected. Lesion 1: on the left, 38 mm across" in words
    assert "Lesion 2: on the right, 12 mm across, on slice 20 of 25" in words
    assert "Lesion 3: in the midline, 9 mm across, on slices 3-5 of 25" in words
    assert "1 lesion is outlined besides." in words
    german = _said(replace(four, lesions=(*four.lesions, made.SMALLER)), Section.FINDINGS, GERMAN)
    assert "Es besteht Verdacht auf 5 Läsionen. Läsion 1: links, größte Ausdehnung 38 mm" in german
    assert "Läsion 2: rechts, größte Ausdehnung 12 mm, Schicht 20 von 25 (MRT)." in german
    assert "Umrandet sind außerdem 2 Läsionen." in german


def test_one_and_several_left_out_are_told_apart() -> None:
    one = made.present(series_refused=1, images_left_out=1, notes=1)
    assert _said(one, Section.FINDINGS).endswith(
        "1 series was not analysed. 1 image of an analysed series was left out. "
        "1 limitation of this analysis is listed beside the result."
    )
    many = made.present(series_refused=2, images_left_out=7, notes=3)
    assert _said(many, Section.FINDINGS, GERMAN).endswith(
        "Nicht ausgewertet: 2 Serien. Aus ausgewerteten Serien ausgelassen: 7 Bilder. "
        "Beim Ergebnis stehen 3 Einschränkungen dieser Auswertung."
    )


def test_triage_only_text_names_no_place_size_or_kind() -> None:
    facts = made.present(claims=Claims.TRIAGE_ONLY, lesions=(), kind=None, kind_share=None)
    words = " ".join(_said(facts, section) for section in Section)
    assert "Where the suspected tumour may be and of what kind is not reported." in words
    for word in ("left", "right", "mm", "benign", "malignant", "lesion"):
        assert word not in words


def test_a_probability_that_rounds_to_the_threshold_says_on_which_side_it_lies() -> None:
    below = made.present(probability=Probability(0.7496, 0.75))
    assert "75 % (just below the threshold)" in _said(below, Section.FINDINGS)
    above = made.present(probability=Probability(0.7504, 0.75))
    assert "75 % (knapp über der Schwelle)" in _said(above, Section.FINDINGS, GERMAN)


def test_every_doubt_is_said() -> None:
    facts = replace(made.UNDETERMINED, reasons=(ReasonCode.LOOK_ALIKE, ReasonCode.TOO_FEW_SLICES))
    words = _said(facts, Section.FINDINGS)
    assert "Something looks wrong that may not be a tumour." in words
    assert "Not enough of the head was imaged for an answer." in words
    assert "Probability of a bleed, an infarct or a surgical clip by the model: 62 %." in words


def test_a_reason_without_words_of_its_own_points_at_the_series() -> None:
    facts = made.not_judged(Outcome.NOT_ELIGIBLE, ReasonCode.LOCALIZER)
    assert _said(facts, Section.FINDINGS) == "The reasons are given with the series of the result."


def test_an_earlier_outcome_is_named() -> None:
    facts = made.present(earlier_outcome=Outcome.ABSENT)
    assert "had another outcome: no tumour found." in _said(facts, Section.IMPRESSION)
    facts = made.present(earlier_outcome=Outcome.PRESENT)
    assert "lautete ebenso: Verdacht auf Tumor." in _said(facts, Section.IMPRESSION, GERMAN)


def test_plain_language_comes_only_where_it_is_asked_for() -> None:
    assert _said(made.PRESENT, Section.PLAIN) == ""
    assert "This is not a diagnosis" in _said(made.PRESENT, Section.PLAIN, plain=True)
    assert "Das ist keine Diagnose" in _said(made.PRESENT, Section.PLAIN, GERMAN, plain=True)


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("facts", [made.PRESENT, made.ABSENT, made.UNDETERMINED, made.NOT_JUDGED])
def test_every_text_says_that_it_is_research(facts: Facts, language: Language) -> None:
    assert any(item.phrase == "research" for item in template(facts, language).sentences)


def test_other_words_have_another_digest_and_equal_ones_the_same() -> None:
    text = template(made.PRESENT, ENGLISH)
    assert text == template(made.PRESENT, ENGLISH)
    others = (
        template(made.PRESENT, GERMAN),
        template(made.ABSENT, ENGLISH),
        replace(text, origin=Origin.MODEL),
    )
    assert len({text.digest, *(other.digest for other in others)}) == 4


def test_an_outcome_that_headers_left_open_claims_no_look_of_a_model() -> None:
    facts = replace(made.NOT_JUDGED, outcome=Outcome.UNDETERMINED, reasons=(ReasonCode.NO_CALIBRATION,))
    assert _said(facts, Section.FINDINGS) == "The values of the pixels are not calibrated."
    assert "model" not in _said(facts, Section.IMPRESSION)
    assert _said(facts, Section.LIMITS).startswith("Research use only")


def test_a_series_is_named_only_among_several_and_never_by_a_number_of_the_archive() -> None:
    second = replace(made.LEFT, series=2, series_of_modality=3)
    assert "(MR, analysed series 2 of 3)" in _said(made.present(lesions=(second,)), Section.FINDINGS)
    assert "(MRT, ausgewertete Serie 2 von 3)" in _said(
        made.present(lesions=(second,)), Section.FINDINGS, GERMAN
    )


def test_lesions_on_a_further_series_are_told_beside_the_one_described() -> None:
    words = _said(made.present(other_series_marked=1), Section.FINDINGS)
    assert "Lesions are also outlined on 1 series besides the one described." in words
