"""Facts to make texts of."""

from dataclasses import replace
from typing import Any

from neurotriage.core.values import Claims, Outcome, ReasonCode, Side, Triage
from worker.summary import Facts
from worker.summary.facts import LesionFact, Probability

LEFT = LesionFact(1, "MR", 1, 1, Side.LEFT, 38, 8, 12, 25)
RIGHT = LesionFact(2, "MR", 1, 1, Side.RIGHT, 12, 20, 20, 25)
MIDDLE = LesionFact(3, "MR", 1, 1, Side.MIDLINE, 9, 3, 5, 25)
SMALL = LesionFact(4, "MR", 1, 1, Side.LEFT, 5, 14, 14, 25)
SMALLER = LesionFact(5, "MR", 1, 1, Side.LEFT, 4, 17, 17, 25)

PRESENT = Facts(
    claims=Claims.RESEARCH,
    outcome=Outcome.PRESENT,
    triage=Triage.URGENT,
    reasons=(ReasonCode.TUMOUR,),
    probability=Probability(0.976, 0.75),
    kind="malignant",
    kind_share=0.81,
    look_alike=None,
    lesions=(LEFT,),
    other_series_marked=0,
    modalities=("MR",),
    missing=("CT",),
    series_analysed=1,
    series_refused=0,
    slices_analysed=25,
    images_left_out=0,
    notes=0,
    models=("mr-tumour 1.0.0",),
    first_look=False,
    earlier_outcome=None,
)
ABSENT = replace(
    PRESENT,
    outcome=Outcome.ABSENT,
    triage=Triage.ROUTINE,
    reasons=(ReasonCode.NO_TUMOUR,),
    probability=Probability(0.03, 0.75),
    kind=None,
    kind_share=None,
    lesions=(),
)
UNDETERMINED = replace(
    ABSENT,
    outcome=Outcome.UNDETERMINED,
    triage=Triage.URGENT,
    reasons=(ReasonCode.LOOK_ALIKE,),
    probability=Probability(0.4, 0.75),
    look_alike=0.62,
)
NOT_JUDGED = replace(
    ABSENT,
    triage=Triage.NONE,
    probability=None,
    modalities=(),
    missing=(),
    series_analysed=0,
    slices_analysed=0,
    models=(),
)


def not_judged(outcome: Outcome, *reasons: ReasonCode) -> Facts:
    """Facts of a study that no model judged."""
    return replace(NOT_JUDGED, outcome=outcome, reasons=reasons)


def present(**changes: Any) -> Facts:
    """Facts of a study with a suspected tumour."""
    return replace(PRESENT, **changes)
