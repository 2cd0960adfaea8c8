"""An ``Analysis`` as JSON and back, for the database and for rebuilding results without inference."""

from typing import Any, Final

from pydantic import TypeAdapter

from neurotriage.core.values import Analysis

_ANALYSIS: Final = TypeAdapter(Analysis)


def to_document(analysis: Analysis) -> dict[str, Any]:
    """Plain JSON values; nothing is lost."""
    document: dict[str, Any] = _ANALYSIS.dump_python(analysis, mode="json")
    return document


def from_document(document: dict[str, Any]) -> Analysis:
    """What ``to_document`` wrote. Raises pydantic's ``ValidationError`` for anything else."""
    return _ANALYSIS.validate_python(document)
