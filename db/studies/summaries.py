"""The texts about an analysis: every one that was made, of which the newest stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select

from db.tables import SummaryRow
from neurotriage.core.summary import Summary
from neurotriage.core.summary_text import summary_entry, summary_of


@dataclass(frozen=True, slots=True)
class KeptSummary:
    """A text, and the facts that it rests on as plain JSON values."""

    summary: Summary
    facts: Mapping[str, Any]


def record(connection: Connection, analysis_id: int, kept: KeptSummary) -> None:
    """Write a text, which takes the place of those before."""
    entry = summary_entry(kept.summary)
    connection.execute(
        insert(SummaryRow).values(
            analysis_id=analysis_id,
            language=entry["language"],
            origin=entry["origin"],
            author=entry["author"],
            facts=dict(kept.facts),
            sentences=entry["sentences"],
        )
    )


def count(connection: Connection, analysis_id: int) -> int:
    """How many texts were made about an analysis."""
    return connection.execute(
        select(func.count()).select_from(SummaryRow).where(SummaryRow.analysis_id == analysis_id)
    ).scalar_one()


def newest(connection: Connection, analysis_id: int) -> KeptSummary | None:
    """The text of an analysis that stands; None where none was made."""
    row = (
        connection.execute(
            select(SummaryRow.__table__)
            .where(SummaryRow.analysis_id == analysis_id)
            .order_by(SummaryRow.id.desc())
            .limit(1)
        )
        .mappings()
        .one_or_none()
    )
    return (
        None
        if row is None
        else KeptSummary(summary_of({**row, "opinion": row["facts"].get("opinion")}), row["facts"])
    )
