"""Which kinds of object the configuration asks for."""

from collections.abc import Iterable

from neurotriage.core.settings import Destination
from neurotriage.core.values import USUAL_KINDS, ResultKind


def wanted_kinds(destinations: Iterable[Destination]) -> frozenset[ResultKind]:
    """What has to be made: all that a destination wants; the usual objects where there is none."""
    asked = frozenset(kind for destination in destinations for kind in destination.kinds)
    return asked or USUAL_KINDS


def named_kinds(destinations: Iterable[Destination]) -> frozenset[ResultKind]:
    """What key objects may point at: what all get that get key objects."""
    kinds = [destination.kinds for destination in destinations]
    return frozenset(ResultKind).intersection(*(own for own in kinds if ResultKind.KEY_OBJECTS in own))
