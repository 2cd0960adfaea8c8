"""An ``Analysis`` as JSON and back, for the database and for rebuilding results without inference."""

from typing import Any, Final

from pydantic import TypeAdapter

from neurotriage.core.values import Analysis

_ANALYSIS: Final = TypeAdapter(Analysis)


def to_document(analysis: Analysis) -> dict[str, Any]:
    """The analysis as plain JSON values, complete: ``from_document`` gives an equal one."""
    document: dict[str, Any] = _ANALYSIS.dump_python(analysis, mode="json")
    return document


def from_document(document: dict[str, Any]) -> Analysis:
    """Read a document of ``to_document``. Raises pydantic's ``ValidationError`` for anything else."""
    return _ANALYSIS.validate_python(document)
