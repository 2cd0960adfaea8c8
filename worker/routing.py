"""Which kinds of object are made, and which destination gets which of them."""

from collections.abc import Iterable

from neurotriage.core.settings import Destination
from neurotriage.core.values import USUAL_KINDS, Analysis, ReasonCode, ResultKind, ResultObject


def wanted_kinds(destinations: Iterable[Destination]) -> frozenset[ResultKind]:
    """What has to be made: all that a destination wants; the usual objects where there is none."""
    asked = frozenset(kind for destination in destinations for kind in destination.kinds)
    return asked or USUAL_KINDS


def named_kinds(destinations: Iterable[Destination]) -> frozenset[ResultKind]:
    """What key objects may point at: what all get that get key objects."""
    kinds = [destination.kinds for destination in destinations]
    return frozenset(ResultKind).intersection(*(own for own in kinds if ResultKind.KEY_OBJECTS in own))


def wanted(destination: Destination, analysis: Analysis, result: ResultObject) -> bool:
    """Whether a destination gets an object: one of the kinds that it wants.

    A study that was not analysed sends its page and document where ``report_unanalysed`` says so; after an
    identity conflict nothing is sent, since nobody knows whose it is.
    """
    if any(reason.code is ReasonCode.IDENTITY_CONFLICT for reason in analysis.reasons):
        return False
    if result.kind not in destination.kinds:
        return False
    if analysis.outcome.analysed:
        return True
    if result.kind not in (ResultKind.PAGE, ResultKind.DOCUMENT):
        return False
    if destination.report_unanalysed == "head":
        return analysis.head_meant
    return destination.report_unanalysed == "all"
