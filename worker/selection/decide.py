"""Applies the rules of a site to a series that the built-in rules have judged."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from neurotriage.core.values import Reason, ReasonCode
from neurotriage.dicom.geometry import plane_of
from worker.eligibility import LACKING
from worker.selection.facts import usual
from worker.selection.rules import Refusal
from worker.selection.series import ReadSeries
from worker.selection.site_rules import SeriesView, SiteRules

_Value = TypeVar("_Value", tuple[str, ...], float)


def decided(series: ReadSeries, rules: SiteRules, peer: str) -> ReadSeries:
    """The series as the first rule decides that it fulfils; as it is where there is none.

    ``peer``: calling AE title of the sender, empty where it is not known. A rule refuses any series. It takes
    one that was refused by words alone (``Refusal.by_words``), and prefers one that is taken anyway; where it
    cannot, the refusal stands and names the rule.
    """
    if not rules.rules:
        return series
    view = _view(series, rules, peer)
    found = rules.first(view)
    if found is None:
        return series
    place, rule = found
    told = rule.told(view)
    if rule.action == "refuse":
        refusal = Refusal(Reason(ReasonCode.REFUSED_BY_SITE, rule.reason), told)
        # Also where it lacked something: the head in it would be missed as well.
        withheld = series.refusal is None or series.refusal.reason.code in LACKING
        return replace(series, refusal=refusal, rule=rule.name, rule_told=told, withheld=withheld)
    against = series.final if rule.action == "take" else series.refusal
    if against is not None:
        evidence = f'{against.evidence} (rule "{rule.name}" cannot change that)'
        return replace(series, refusal=replace(against, evidence=evidence))
    preference = place if rule.action == "prefer" else None
    return replace(series, refusal=None, rule=rule.name, rule_told=told, preference=preference)


def _view(series: ReadSeries, rules: SiteRules, peer: str) -> SeriesView:
    images = series.plan.images or series.images
    values = {tag: _most_stated(image.of.asked.get(tag, ()) for image in images) or () for tag in rules.tags}
    places = [image.geometry for image in images if image.geometry is not None]
    return SeriesView(
        values,
        {
            "modality": series.facts.modality,
            "orientation": usual([plane_of(place.normal).value for place in places]),
            "slices": float(len(images)),
            "thickness_mm": _most_stated(
                place.thickness_mm for place in places if place.thickness_mm is not None
            ),
            "peer": peer,
        },
    )


def _most_stated(stated: Iterable[_Value]) -> _Value | None:
    """The most frequent value, of equally frequent ones the least; None where there is none."""
    counts = Counter(stated)
    return min(counts, key=lambda value: (-counts[value], value), default=None)
