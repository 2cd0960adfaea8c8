"""``neurotriage reprocess``: analyse studies again."""

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import typer

from neurotriage.cli import database

if TYPE_CHECKING:
    from sqlalchemy import Engine

_AGO = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_REASON_LENGTH = 200


def register(app: typer.Typer) -> None:
    app.command()(reprocess)


def reprocess(
    study: list[str] = typer.Argument(
        None, metavar="[STUDY]...", help="StudyInstanceUIDs or accession numbers.", show_default=False
    ),
    failed: bool = typer.Option(False, "--failed", help="Studies whose analysis failed."),
    since: str = typer.Option(
        "", help="Studies whose first image came since a local date, date and time, or 90m, 12h or 3d ago."
    ),
    limit: int = typer.Option(
        100, min=1, max=10000, help="At most this many of --failed and --since, newest first."
    ),
    reason: str = typer.Option("", help="The reason, without a patient's name; `why` shows it."),
) -> None:
    """Analyse studies again, from the images received.

    Each gets a new revision, whatever the outcome before; its results replace the older ones. Several at once
    wait in the backlog.

    Example: neurotriage reprocess --failed --since 2d --reason "disk was full"
    """
    if bool(study) == (failed or bool(since)):
        raise typer.BadParameter("give studies, or else --failed, --since or both")
    begin = _time(since, datetime.now().astimezone()) if since else None
    if not reason.isprintable() or len(reason) > _REASON_LENGTH:
        raise typer.BadParameter(f"--reason: one line of at most {_REASON_LENGTH} characters")
    with database.engine() as engine:
        if study:
            wanted, unknown = _named(engine, study)
        else:
            wanted, unknown = _matching(engine, failed=failed, since=begin, limit=limit), False
        skipped = _reprocess(engine, wanted, reason or "asked for by command")
    if unknown or (study and skipped):
        raise typer.Exit(1)


def _named(engine: "Engine", keys: list[str]) -> tuple[list[int], bool]:
    """Ids of the studies with these UIDs or accession numbers, and whether one is unknown."""
    from db import queries

    wanted: dict[int, None] = {}
    unknown = False
    with engine.connect() as connection:
        for key in keys:
            matching = queries.find_studies(connection, key)
            if not matching:
                unknown = True
                typer.echo(f"no study has the StudyInstanceUID or accession number {key}", err=True)
            wanted |= dict.fromkeys(matching)
    return list(wanted), unknown


def _matching(engine: "Engine", *, failed: bool, since: datetime | None, limit: int) -> list[int]:
    from db.studies import repeat

    with engine.connect() as connection:
        wanted, total = repeat.candidates(connection, failed=failed, since=since, limit=limit)
    if total > len(wanted):
        typer.echo(
            f"{total} studies match; --limit allows only the newest {len(wanted)}",
            err=True,
        )
    return wanted


def _reprocess(engine: "Engine", wanted: list[int], reason: str) -> int:
    """How many were skipped. Each has a transaction of its own, so that no study is locked for long."""
    from db.studies import priority, repeat

    skipped = 0
    for study_id in wanted:
        with engine.begin() as connection:
            made = repeat.reprocess(connection, study_id, reason=reason)
            if made.revision_id is not None and len(wanted) > 1:
                priority.hold_back(connection, study_id, f"analysed again with {len(wanted) - 1} others")
        if made.skipped:
            skipped += 1
            typer.echo(f"{made.study_instance_uid}  skipped: {made.skipped}")
        else:
            typer.echo(f"{made.study_instance_uid}  is analysed again as revision {made.number}")
    typer.echo(
        f"{len(wanted) - skipped} of {len(wanted)} studies will be analysed again"
        if wanted
        else "no such study: nothing to do"
    )
    return skipped


def _time(written: str, now: datetime) -> datetime:
    """A point in local time, or an interval before ``now``. Raises ``typer.BadParameter``."""
    ago = _AGO.fullmatch(written)
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(written).astimezone()
    except (ValueError, OverflowError):
        forms = "a date (2026-11-28), a date and time (2026-11-28T14:00) or a time ago (90m, 12h, 3d)"
        raise typer.BadParameter(f"--since: {written!r} is not {forms}") from None
