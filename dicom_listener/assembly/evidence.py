"""Decides by evidence whether a study is complete, or far enough for a first look; the clock is given."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from dicom_listener.assembly.series import SeriesFacts
from dicom_listener.assembly.study import StudyFacts
from neurotriage.core.settings import AssemblySettings, RequiredSeries
from neurotriage.core.values import EARLY
from neurotriage.core.wording import counted

# A study is complete by its associations after so many times the longest pause that was seen between two.
_ASSOCIATION_PAUSES: Final = 2.0
# And by its geometry after so many times the longest pause between two images.
_IMAGE_PAUSES: Final = 3.0
# A series rests at least so long before a first look at it, unless its headers say that it is full.
SERIES_REST_S: Final = 1.0


class Evidence(StrEnum):
    """What completed a study, as in ``revisions.completed_by``; a command does so, too."""

    COUNTED = "counted"
    REQUIRED = "required"
    CLOSED = "closed"
    RELEASED = "released"
    QUIET = "quiet"
    FORCE = "force"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known apart from the images, and the time."""

    idle_s: float  # since the newest image came
    behind_s: float = 0.0  # before now, for which arrivals may not be recorded yet (``Backlog.behind_s``)
    released: Mapping[str, bool] = field(default_factory=dict)  # associations that ended
    count: int | None = None  # instances that an archive named after the newest image came

    @property
    def quiet_s(self) -> float:
        """Seconds for which it is certain that nothing came."""
        return self.idle_s - self.behind_s


@dataclass(frozen=True, slots=True)
class Decision:
    """A revision that is due: ``EARLY`` of some series, or of the whole study by an ``Evidence``."""

    completed_by: str
    words: str
    idle_s: float = 0.0  # must have passed since the newest image when the study is frozen
    series: tuple[int, ...] = ()  # of a first look


Rule = Callable[[StudyFacts, Known, AssemblySettings], Decision | None]


def due(study: StudyFacts, known: Known, rules: AssemblySettings) -> Decision | None:
    """The revision that is due now, or None. That of the whole study goes before a first look."""
    for rule in (_counted, _required, _closed, _released, _quiet, _force, _first_look):
        decision = rule(study, known, rules)
        if decision is not None:
            return decision
    return None


def _counted(study: StudyFacts, known: Known, rules: AssemblySettings) -> Decision | None:
    if known.count is None or study.received < known.count:
        return None
    words = f"{study.received} instances came; the archive has {known.count}"
    return _when_quiet(Evidence.COUNTED, words, rules.released_quiet_s, known)


def _required(study: StudyFacts, known: Known, rules: AssemblySettings) -> Decision | None:
    if not rules.required or _fewer_than_counted(study, known):
        return None
    met = all(any(s.closed and _matches(s, wanted) for s in study.series) for wanted in rules.required)
    if not met:
        return None
    return _when_quiet(Evidence.REQUIRED, "the required series are closed", _by_images(study, rules), known)


def _closed(study: StudyFacts, known: Known, rules: AssemblySettings) -> Decision | None:
    if _fewer_than_counted(study, known) or not all(series.closed for series in study.series):
        return None
    if not any(series.eligible for series in study.series):
        return None  # scouts alone
    words = f"{len(study.series)} of {len(study.series)} series are closed"
    return _when_quiet(Evidence.CLOSED, words, _by_images(study, rules), known)


def _released(study: StudyFacts, known: Known, rules: AssemblySettings) -> Decision | None:
    pause_s = study.association_pause_s
    if pause_s is None or _fewer_than_counted(study, known) or not _all_released(study.associations, known):
        return None
    quiet_s = max(rules.released_quiet_s, min(_ASSOCIATION_PAUSES * pause_s, rules.quiet_s))
    words = f"{counted(len(study.associations), 'association')} released"
    return _when_quiet(Evidence.RELEASED, words, quiet_s, known)


def _quiet(study: StudyFacts, known: Known, rules: AssemblySettings) -> Decision | None:
    return _when_quiet(Evidence.QUIET, "the quiet timer", rules.quiet_s, known)


def _force(study: StudyFacts, known: Known, rules: AssemblySettings) -> Decision | None:
    waited_s = study.newest_s + known.idle_s - study.waiting_since_s
    if waited_s < rules.force_s:
        return None
    return Decision(Evidence.FORCE, f"images have come for {waited_s:.0f} s without a pause of quiet_s")


def _first_look(study: StudyFacts, known: Known, rules: AssemblySettings) -> Decision | None:
    """Due before the study was ever complete, once a series that no first look has seen is closed."""
    if study.completed or study.first_looks >= rules.first_looks:
        return None
    ready = [s for s in study.series if s.closed and s.eligible and _rests(s, study, known, rules)]
    if all(series.frozen for series in ready):
        return None
    images = sum(series.images for series in ready)
    words = f"{counted(images, 'image')} of {len(ready)} closed series"
    return Decision(EARLY, words, series=tuple(series.id for series in ready))


def _rests(series: SeriesFacts, study: StudyFacts, known: Known, rules: AssemblySettings) -> bool:
    """Whether no further image of a series is to be expected soon."""
    if series.full or (not series.one_by_one and _all_released(series.associations, known)):
        return True
    quiet_s = study.newest_s - series.last_s + known.quiet_s
    return quiet_s >= series.rests_after_s(SERIES_REST_S, rules.released_quiet_s)


def _when_quiet(evidence: Evidence, words: str, quiet_s: float, known: Known) -> Decision | None:
    if known.quiet_s < quiet_s:
        return None
    return Decision(evidence, f"{words}, and nothing came for {quiet_s:g} s", quiet_s + known.behind_s)


def _by_images(study: StudyFacts, rules: AssemblySettings) -> float:
    """How long nothing comes before what is closed counts as complete."""
    return max(rules.released_quiet_s, min(_IMAGE_PAUSES * study.longest_pause_s, rules.quiet_s))


def _all_released(associations: Collection[str], known: Known) -> bool:
    return all(known.released.get(association, False) for association in associations)


def _fewer_than_counted(study: StudyFacts, known: Known) -> bool:
    return known.count is not None and study.received < known.count


def _matches(series: SeriesFacts, wanted: RequiredSeries) -> bool:
    described = wanted.description.casefold() in series.description.casefold()
    return described and wanted.modality in ("", series.modality)
