"""The history: a move and its event are one transaction."""

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
