"""The text that goes with an analysis as a site wants it, with the facts that it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from neurotriage.core.evidence import Evidence
from neurotriage.core.settings import SummarySettings
from neurotriage.core.summary import Summary
from neurotriage.core.values import Analysis, Claims, Outcome
from worker.results import claimed
from worker.summary.facts import Facts, facts_of
from worker.summary.template import template

_FACTS: Final = TypeAdapter(Facts)


@dataclass(frozen=True, slots=True)
class Told:
    """A text and all that it may rest on."""

    summary: Summary
    facts: Facts

    def facts_document(self) -> dict[str, Any]:
        """The facts as plain JSON values."""
        document: dict[str, Any] = _FACTS.dump_python(self.facts, mode="json")
        return document


def tell(
    analysis: Analysis,
    settings: SummarySettings,
    claims: Claims = Claims.RESEARCH,
    earlier: Outcome | None = None,
) -> Told:
    """The text of the template, within ``claims``; ``earlier``: the outcome that stood before."""
    shown, _ = claimed(analysis, Evidence(), claims)
    facts = facts_of(shown, claims, earlier)
    return Told(template(facts, settings.language, plain=settings.plain_language), facts)


def facts_from(document: Mapping[str, Any]) -> Facts:
    """The facts of a kept ``facts_document``. Raises pydantic's ``ValidationError`` for anything else."""
    return _FACTS.validate_python(dict(document))
