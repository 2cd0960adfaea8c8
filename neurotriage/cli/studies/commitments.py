"""``neurotriage commitments``: what peers asked us to commit, and whether they know."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from neurotriage.cli import database
from neurotriage.cli.tables import print_whole


def register(app: typer.Typer) -> None:
    app.command()(commitments)


def commitments(
    waiting: bool = typer.Option(False, "--open", help="Those that were not reported, or not yet."),
    limit: int = typer.Option(50, "--limit", min=1, help="At most so many, the newest first."),
) -> None:
    """Show the storage commitments that peers asked of us.

    State, counts, tries and the last answer of each.

    Example: neurotriage commitments --open
    """
    from db.commitments import transactions

    with database.connection() as connection:
        rows = [dict(row) for row in transactions(connection, limit=limit, only_open=waiting)]
    if not rows:
        typer.echo("no peer has asked us to commit anything" if not waiting else "every peer was told")
        return
    _print(rows)


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    headings = ("requested", "peer", "transaction", "state", "asked", "failed", "tries", "last", "next try")
    table = Table(*headings, box=SIMPLE, padding=(0, 1, 0, 0))
    for row in rows:
        decided = row["decided_at"] is not None
        waits = row["ended_at"] is None and decided
        table.add_row(
            f"{row['requested_at']:%Y-%m-%d %H:%M:%S}",
            f"{row['peer_ae_title']} at {row['peer_host']}",
            row["transaction_uid"],
            row["state"],
            str(row["asked_count"]),
            _failed(row) if decided else "not decided yet",
            str(row["attempts"]),
            row["last_status"],
            f"{row['next_try_at']:%Y-%m-%d %H:%M:%S}" if waits else "",
        )
    print_whole(table)


def _failed(row: Mapping[str, Any]) -> str:
    """How many are not committed, and the first of them with its Failure Reason."""
    count = row["failed_count"]
    if not count:
        return "0"
    _, instance, reason = row["failed"][0]
    return f"{count}: {instance} (0x{reason:04X}){', ...' if count > 1 else ''}"
