"""The facts of an open study on which its completeness is decided: no rows, no clock."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from db.studies.arrivals import Arrival, StudyArrivals
from dicom_listener.assembly.series import SeriesFacts, series_facts
from neurotriage.core.reception import Sender


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """A study as far as it came. Times are in seconds since 1970, by the clock of the listener."""

    id: int
    study_instance_uid: str
    series: tuple[SeriesFacts, ...]
    peers: frozenset[Sender]
    associations: frozenset[str]
    association_pause_s: float | None  # longest between two associations; None where too little is known
    longest_pause_s: float  # between two images
    received: int
    first_looks: int
    completed: bool  # whether a revision of the whole study was made before
    newest_s: float  # when its newest image came
    waiting_since_s: float  # when the oldest image came that is in no revision of the whole study


def study_facts(known: StudyArrivals) -> StudyFacts:
    """The facts of a study with at least one arrival."""
    by_series: dict[int, list[Arrival]] = defaultdict(list)
    for arrival in known.arrivals:
        by_series[arrival.series_id].append(arrival)
    times = [arrival.came_s for arrival in known.arrivals]
    waiting = [a.came_s for a in known.arrivals if not (known.completed and a.frozen)]
    return StudyFacts(
        id=known.study_id,
        study_instance_uid=known.study_instance_uid,
        series=tuple(
            series_facts(series, by_series[series.id]) for series in known.series if by_series[series.id]
        ),
        peers=frozenset(arrival.peer for arrival in known.arrivals),
        associations=frozenset(arrival.association_id for arrival in known.arrivals),
        association_pause_s=_association_pause_s(known.arrivals),
        longest_pause_s=max((after - before for before, after in pairwise(times)), default=0.0),
        received=known.received,
        first_looks=known.first_looks,
        completed=known.completed,
        newest_s=times[-1],
        waiting_since_s=min(waiting, default=times[-1]),
    )


def _association_pause_s(arrivals: Iterable[Arrival]) -> float | None:
    """The longest time between the last image before an association and the first image on it.

    None where one or two associations brought one image each: whoever sends so may open many more, and how
    long it takes in between is not known.
    """
    spans: dict[str, list[float]] = {}
    for arrival in arrivals:
        spans.setdefault(arrival.association_id, []).append(arrival.came_s)
    ordered = sorted(spans.values(), key=lambda times: times[0])
    if len(ordered) < 3 and all(len(times) == 1 for times in ordered):
        return None
    longest_s, ended_s = 0.0, ordered[0][-1]
    for times in ordered[1:]:
        longest_s = max(longest_s, times[0] - ended_s)
        ended_s = max(ended_s, times[-1])
    return longest_s
