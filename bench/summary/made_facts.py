"""Random facts of studies, as analyses of any outcome would give them."""

from random import Random
from typing import Final

from neurotriage.core.second_opinion import Opinion, Verdict
from neurotriage.core.values import Claims, Outcome, ReasonCode, Side, Triage
from worker.summary import Facts
from worker.summary.facts import KINDS, LesionFact, Probability

_DOUBTS: Final = (
    ReasonCode.NO_SAFE_ANSWER,
    ReasonCode.LOOK_ALIKE,
    ReasonCode.TOO_FEW_SLICES,
    ReasonCode.OUT_OF_DISTRIBUTION,
    ReasonCode.PART_NOT_ANALYSED,
)
_NOT_JUDGED: Final = {
    Outcome.POOR_QUALITY: (ReasonCode.TOO_COARSE, ReasonCode.NOISE),
    Outcome.INCOMPLETE: (ReasonCode.MISSING_IMAGES,),
    Outcome.NOT_ELIGIBLE: (ReasonCode.NO_HEAD_SERIES, ReasonCode.LOCALIZER, ReasonCode.NO_MODEL),
    Outcome.FAILED: (ReasonCode.ATTEMPTS_EXHAUSTED,),
}


def random_facts(random: Random, outcome: Outcome, lesions: int = 0) -> Facts:
    """Facts of a study with this outcome; ``lesions``: how many are outlined, which differ in every value."""
    judged = outcome.analysed
    both = random.random() < 0.4
    modalities = (("CT", "MR") if both else (random.choice(("CT", "MR")),)) if judged else ()
    alike = judged and random.random() < 0.3
    present = outcome is Outcome.PRESENT
    return Facts(
        claims=Claims.RESEARCH,
        outcome=outcome,
        triage=_triage(random, outcome),
        reasons=_reasons(random, outcome),
        probability=Probability(random.random(), random.uniform(0.2, 0.9)) if judged else None,
        kind=random.choice(KINDS) if present else None,
        kind_share=random.uniform(0.51, 1.0) if present else None,
        look_alike=random.uniform(0.1, 1.0) if alike else None,
        lesions=_lesions(random, modalities, lesions) if present else (),
        other_series_marked=random.choice((0, 0, 1, 2)) if present and lesions else 0,
        modalities=modalities,
        missing=tuple(name for name in ("CT", "MR") if judged and name not in modalities),
        series_analysed=random.randint(len(modalities), 4) if judged else 0,
        series_refused=random.choice((0, 0, 1, 2, 5)),
        slices_analysed=random.randint(12, 200) if judged else 0,
        images_left_out=random.choice((0, 0, 1, 7)),
        notes=random.choice((0, 1, 3)),
        models=("ct-tumour 1.0.0",) if judged else (),
        first_look=judged and random.random() < 0.2,
        earlier_outcome=random.choice((None, None, Outcome.ABSENT, Outcome.PRESENT)),
        opinion=_opinion(random) if judged and random.random() < 0.3 else None,
    )


def _triage(random: Random, outcome: Outcome) -> Triage:
    if outcome is Outcome.ABSENT:
        return Triage.ROUTINE
    return random.choice((Triage.URGENT, Triage.PRIORITY)) if outcome.analysed else Triage.NONE


def _reasons(random: Random, outcome: Outcome) -> tuple[ReasonCode, ...]:
    if outcome in _NOT_JUDGED:
        return (random.choice(_NOT_JUDGED[outcome]),)
    if outcome is Outcome.UNDETERMINED:
        return tuple(random.sample(_DOUBTS, random.randint(1, 2)))
    return (ReasonCode.TUMOUR if outcome is Outcome.PRESENT else ReasonCode.NO_TUMOUR,)


def _opinion(random: Random) -> Opinion:
    verdict = random.choice(list(Verdict))
    side = random.choice((Side.LEFT, Side.RIGHT, None)) if verdict is Verdict.TUMOUR else None
    return Opinion("another model", verdict, side, random.random())


def _lesions(random: Random, modalities: tuple[str, ...], count: int) -> tuple[LesionFact, ...]:
    """Lesions of different sides (as far as there are sides), sizes and slices, the largest first."""
    modality, series = random.choice(modalities), random.randint(1, 2)
    sizes = sorted(random.sample(range(4, 80), count), reverse=True)
    sides = random.sample(list(Side), 3) * (count // 3 + 1)
    starts = random.sample(range(1, 20), count)
    return tuple(
        LesionFact(
            number, modality, series, 2, sides[number - 1], size, first, first + random.randint(0, 5), 28
        )
        for number, (size, first) in enumerate(zip(sizes, starts, strict=True), start=1)
    )
