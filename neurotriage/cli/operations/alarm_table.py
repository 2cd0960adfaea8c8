"""Alarms for a terminal."""

from collections.abc import Sequence
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from db.operations.alarm_history import Notice, PastAlarm
from neurotriage.cli.operations.status_tables import age


def table(found: Sequence[PastAlarm], at: datetime) -> Table:
    """A row per alarm; ``at``: the time by the clock of the database."""
    made = Table("alarm", "subject", "count", "age", "what", "told", "acknowledged")
    for item in found:
        code = item.code if item.ended_at else f"[red]{item.code}[/]"
        made.add_row(
            code,
            escape(item.subject),
            "" if item.count is None else str(item.count),
            _age(item, at),
            escape(item.text),
            escape("\n".join(_told(notice) for notice in item.notices) or "not yet"),
            escape(_acknowledged(item, at)),
        )
    return made


def _age(item: PastAlarm, at: datetime) -> str:
    """Since tables or disk say that it stands, else since it was found."""
    since = item.since or item.found_at
    lasted = age(max(0.0, ((item.ended_at or at) - since).total_seconds()))
    return f"{lasted}, ended {_time(item.ended_at)}" if item.ended_at else lasted


def _told(notice: Notice) -> str:
    what = f"{notice.channel}: {notice.event}"
    if notice.sent_at is not None:
        return f"{what} {_time(notice.sent_at)}"
    tries = f"{notice.tries} tries failed, {notice.last_error}" if notice.tries else notice.last_error
    if notice.given_up:
        return f"{what} NOT TOLD, given up: {tries}"
    return f"{what} not told yet" + (f": {tries}" if tries else "")


def _acknowledged(item: PastAlarm, at: datetime) -> str:
    if item.acknowledged_at is None:
        return ""
    until = item.acknowledged_until
    if until is None:
        return f"{item.acknowledged_by} {_time(item.acknowledged_at)}"
    return f"{item.acknowledged_by}, {'until' if until > at else 'was until'} {_time(until)}"


def _time(moment: datetime) -> str:
    return f"{moment:%m-%d %H:%M}"
