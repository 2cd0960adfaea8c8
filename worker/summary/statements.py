"""Everything that may be said of a study: each statement names its phrase, its facts and its values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from neurotriage.core.second_opinion import Agreement
from neurotriage.core.summary import Section
from neurotriage.core.values import Claims, Outcome, ReasonCode
from worker.results.wording.text import MAX_LESIONS_SHOWN
from worker.summary.facts import Facts, LesionFact
from worker.summary.values import (
    Counted,
    Held,
    Kind,
    LesionNumber,
    Millimetres,
    Modalities,
    Names,
    Noun,
    SeriesName,
    Share,
    SliceRange,
    Value,
)

# Reasons of doubt, or for which nothing was judged, that have a phrase of their own.
DOUBTS: Final = (
    ReasonCode.NO_SAFE_ANSWER,
    ReasonCode.LOOK_ALIKE,
    ReasonCode.TOO_FEW_SLICES,
    ReasonCode.TOO_COARSE,
    ReasonCode.OUT_OF_DISTRIBUTION,
    ReasonCode.PART_NOT_ANALYSED,
    ReasonCode.MISSING_IMAGES,
    ReasonCode.NO_CALIBRATION,
    ReasonCode.NO_GEOMETRY,
    ReasonCode.INCONSISTENT_GEOMETRY,
    ReasonCode.HEADER_CONTRADICTS_PIXELS,
    ReasonCode.IDENTITY_CONFLICT,
    ReasonCode.IMAGES_WITHDRAWN,
    ReasonCode.NO_MODEL,
    ReasonCode.NO_HEAD_SERIES,
    ReasonCode.NOT_A_HEAD,
    ReasonCode.NOISE,
    ReasonCode.UNREADABLE_PIXELS,
    ReasonCode.REFUSED_BY_SITE,
    ReasonCode.ATTEMPTS_EXHAUSTED,
    ReasonCode.INTERNAL_ERROR,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that may be said, once. ``facts``: the names of the facts it rests on."""

    section: Section
    phrase: str
    facts: tuple[str, ...] = ("outcome",)
    values: Mapping[str, Value] = field(default_factory=dict)
    needed: bool = True  # a text without it is refused
    free: bool = False  # has no place of its own: it comes anywhere after the fixed ones of its section


def statements(facts: Facts, *, plain: bool = False) -> tuple[Statement, ...]:
    """All statements on a study in the order of the template; ``plain`` adds those without medical terms."""
    return (
        *_findings(facts),
        *_impression(facts),
        *_limits(facts),
        *(_plain(facts) if plain else ()),
    )


def _findings(facts: Facts) -> Iterator[Statement]:
    here = Section.FINDINGS
    if not facts.series_analysed:  # also of an outcome that headers alone left open
        yield from _doubts(facts)
    else:
        yield Statement(
            here,
            "coverage",
            ("slices_analysed", "series_analysed", "modalities"),
            {
                "slices": Counted(facts.slices_analysed, Noun.SLICE),
                "series": Counted(facts.series_analysed, Noun.SERIES),
                "modalities": Modalities(facts.modalities),
            },
        )
        if facts.outcome is Outcome.ABSENT:
            yield Statement(here, "nothing_found")
        yield from _doubts(facts) if facts.outcome is Outcome.UNDETERMINED else ()
        yield from _lesions(facts)
        yield from _probabilities(facts)
        yield from _opinion(facts)
        for name in facts.missing:
            modality = {"modality": Modalities((name,))}
            yield Statement(here, "modality_missing", ("missing",), modality, free=True)
    yield from _not_looked_at(facts)


def _doubts(facts: Facts) -> Iterator[Statement]:
    known = [code for code in facts.reasons if code in DOUBTS]
    for code in known:
        yield Statement(Section.FINDINGS, f"doubt_{code.value}", ("reasons",))
    if not known:
        yield Statement(Section.FINDINGS, "doubt_other", ("reasons",))


def _lesions(facts: Facts) -> Iterator[Statement]:
    here = Section.FINDINGS
    if facts.claims is Claims.TRIAGE_ONLY:
        if facts.outcome is Outcome.PRESENT:
            yield Statement(here, "place_not_reported", ("claims",))
        return
    if not facts.lesions:
        if facts.outcome is Outcome.PRESENT:
            yield Statement(here, "no_outline", ("lesions",))
        return
    if len(facts.lesions) == 1:
        yield _lesion(facts.lesions[0], "only_lesion")
        yield from _elsewhere(facts)
        return
    yield Statement(here, "lesions", ("lesions",), {"lesions": Counted(len(facts.lesions), Noun.LESION)})
    for lesion in facts.lesions[:MAX_LESIONS_SHOWN]:
        yield _lesion(lesion, "lesion")
    more = len(facts.lesions) - MAX_LESIONS_SHOWN
    if more > 0:
        phrase = "one_more_lesion" if more == 1 else "more_lesions"
        yield Statement(here, phrase, ("lesions",), {"lesions": Counted(more, Noun.LESION)})
    yield from _elsewhere(facts)


def _elsewhere(facts: Facts) -> Iterator[Statement]:
    """The lesions described are those of one series."""
    if facts.other_series_marked:
        series = {"series": Counted(facts.other_series_marked, Noun.SERIES)}
        yield Statement(Section.FINDINGS, "other_series_marked", ("other_series_marked",), series)


def _lesion(lesion: LesionFact, phrase: str) -> Statement:
    values: dict[str, Value] = {
        "side": lesion.side,
        "size": Millimetres(lesion.size_mm),
        "slices": SliceRange(lesion.first_slice, lesion.last_slice, lesion.slices_of_stack),
        "series": SeriesName(lesion.modality, lesion.series, lesion.series_of_modality),
    }
    if phrase == "lesion":
        values["number"] = LesionNumber(lesion.number)
    return Statement(Section.FINDINGS, phrase, (f"lesion.{lesion.number}",), values)


def _probabilities(facts: Facts) -> Iterator[Statement]:
    here = Section.FINDINGS
    if facts.probability is not None:
        held = Held(facts.probability.value, facts.probability.threshold)
        yield Statement(here, "probability", ("probability",), {"probability": held}, free=True)
    if facts.kind is not None and facts.kind_share is not None:
        kind, share = Kind(facts.kind), Share(facts.kind_share)
        values: dict[str, Value] = {"kind": kind, "share": share}
        yield Statement(here, "kind", ("kind",), values, needed=False, free=True)
    if facts.look_alike is not None:
        alike = {"probability": Share(facts.look_alike)}
        yield Statement(here, "look_alike", ("look_alike",), alike, free=True)


def _opinion(facts: Facts) -> Iterator[Statement]:
    """What another model says, beside our answer and never in its place."""
    opinion = facts.opinion
    if opinion is None:
        return
    agreement = opinion.agreement(facts.outcome, [lesion.side for lesion in facts.lesions])
    values: dict[str, Value] = {}
    if agreement is not Agreement.UNSURE:
        values["confidence"] = Share(opinion.confidence)
    if agreement in (Agreement.OTHER_ANSWER, Agreement.ALONE):
        values["verdict"] = opinion.verdict
    if agreement is Agreement.OTHER_SIDE and opinion.side is not None:
        values["side"] = opinion.side
    yield Statement(Section.FINDINGS, f"opinion_{agreement.value}", ("opinion",), values, free=True)


def _not_looked_at(facts: Facts) -> Iterator[Statement]:
    left_out = facts.images_left_out if facts.series_analysed else 0
    for count, noun, one, many, fact in (
        (facts.series_refused, Noun.SERIES, "one_series_refused", "series_refused", "series_refused"),
        (left_out, Noun.IMAGE, "one_image_left_out", "images_left_out", "images_left_out"),
        (facts.notes, Noun.LIMITATION, "one_limitation", "limitations", "notes"),
    ):
        if count:
            phrase = one if count == 1 else many
            yield Statement(Section.FINDINGS, phrase, (fact,), {"count": Counted(count, noun)}, free=True)


def _impression(facts: Facts) -> Iterator[Statement]:
    here = Section.IMPRESSION
    yield Statement(here, facts.outcome.value if facts.outcome.analysed else "not_judged")
    if ReasonCode.LOOK_ALIKE in facts.reasons:
        yield Statement(here, "may_be_look_alike", ("reasons",))
    if facts.outcome.analysed:
        yield Statement(here, "triage", ("triage",), {"triage": facts.triage})
    if facts.first_look:
        yield Statement(here, "first_look", ("first_look",))
    if facts.earlier_outcome is not None:
        same = facts.earlier_outcome is facts.outcome
        phrase = "same_outcome" if same else "other_outcome"
        yield Statement(here, phrase, ("earlier_outcome",), {"outcome": facts.earlier_outcome})


def _limits(facts: Facts) -> Iterator[Statement]:
    here = Section.LIMITS
    if facts.series_analysed:
        yield Statement(here, "tumours_alone")
        yield Statement(here, "may_be_wrong")
        yield Statement(here, "training", needed=False)
        if facts.lesions:
            yield Statement(here, "extent", ("lesions",))
        if facts.models:
            yield Statement(here, "models", ("models",), {"models": Names(facts.models)}, needed=False)
    yield Statement(here, "research")


def _plain(facts: Facts) -> Iterator[Statement]:
    here = Section.PLAIN
    yield Statement(here, f"plain_{facts.outcome.value if facts.outcome.analysed else 'not_judged'}")
    if facts.first_look:
        yield Statement(here, "plain_first_look", ("first_look",))
    yield Statement(here, "plain_decides")
