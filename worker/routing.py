"""Routing: the kinds of object to make, and those that each destination gets."""

from collections.abc import Iterable
from typing import Final

from neurotriage.core.settings import Destination
from neurotriage.core.values import USUAL_KINDS, Analysis, ReasonCode, ResultKind, ResultObject

_OF_NOBODY: Final = (ReasonCode.IDENTITY_CONFLICT, ReasonCode.IMAGES_WITHDRAWN)


def wanted_kinds(destinations: Iterable[Destination]) -> frozenset[ResultKind]:
    """The kinds to make: all that any destination wants; ``USUAL_KINDS`` without destinations."""
    asked = frozenset(kind for destination in destinations for kind in destination.kinds)
    return asked or USUAL_KINDS


def named_kinds(destinations: Iterable[Destination]) -> frozenset[ResultKind]:
    """The kinds to which key objects may refer: those that every destination of key objects gets, too."""
    kinds = [destination.kinds for destination in destinations]
    return frozenset(ResultKind).intersection(*(own for own in kinds if ResultKind.KEY_OBJECTS in own))


def wanted(destination: Destination, analysis: Analysis, result: ResultObject) -> bool:
    """Whether a destination gets an object, by the kinds that it wants.

    Of a study that was not analysed, page and document only, if ``report_unanalysed`` allows them. False for
    every object of a study of several patients, or without images: the patient is not known.
    """
    if any(reason.code in _OF_NOBODY for reason in analysis.reasons):
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
