"""The history: a move and its event are one transaction."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert

from db.tables import Event


def record(
    connection: Connection,
    kind: str,
    *,
    study_id: int | None = None,
    revision_id: int | None = None,
    **detail: Any,
) -> None:
    """Add an event, in the caller's transaction.

    ``detail`` is stored as JSON: ids, codes and our own sentences, never names or free text of a header.
    """
    connection.execute(
        insert(Event).values(kind=kind, study_id=study_id, revision_id=revision_id, detail=detail)
    )


def record_all(connection: Connection, kind: str, details: Mapping[int, Mapping[str, Any]]) -> None:
    """Add an event to each of several studies, with its detail, as ``record`` does to one."""
    if details:
        connection.execute(
            insert(Event),
            [{"kind": kind, "study_id": study_id, "detail": detail} for study_id, detail in details.items()],
        )
