"""The snapshot for a terminal."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from db.operations.destinations import DestinationLoad
from db.operations.flow import Flow, Spread
from db.operations.processes import RunningProcess
from db.operations.queue import QueuedClass
from db.pauses import StandingPause
from neurotriage.operations.facts import Section
from neurotriage.operations.values import Alarm, Backlog, Disk, Snapshot, Stored

T = TypeVar("T")

_HOPS = {
    "image_to_ready": "last image to ready",
    "ready_to_analysed": "ready to analysed",
    "analysed_to_delivered": "analysed to delivered",
    "delivered_to_proven": "delivered to proven",
}
_COUNTS = {
    "studies_received": "studies received",
    "images_received": "images received",
    "studies_analysed": "studies analysed",
    "studies_failed": "studies failed",
    "studies_delivered": "studies delivered",
}
_NONE = "-"


def shown(snapshot: Snapshot) -> RenderableType:
    """All sections, one below the other, alarms first."""
    missing = snapshot.missing
    at = snapshot.at
    return Group(
        Text(f"neurotriage at {at:%Y-%m-%d %H:%M:%S} UTC"),
        *_alarms(snapshot.alarms),
        *_section("Queue", missing.get(Section.QUEUE), snapshot.queue, _queue),
        *([] if snapshot.backlog is None else [Text(f"  {_backlog(snapshot.backlog)}")]),
        *_section(
            "Processes",
            missing.get(Section.PROCESSES),
            snapshot.processes,
            lambda processes: _processes(processes, at),
        ),
        *_section("Flow", missing.get(Section.FLOW), snapshot.flow, _flow),
        *_section("Destinations", missing.get(Section.DESTINATIONS), snapshot.destinations, _destinations),
        *_pauses(snapshot.pauses or ()),
        *_section("Disk", missing.get(Section.DISK), snapshot.disk, _disk),
        *_section("Stored", missing.get(Section.SIZES), snapshot.stored, _stored),
    )


def _section(
    title: str, why_missing: str | None, found: T | None, render: Callable[[T], RenderableType]
) -> Iterator[RenderableType]:
    yield Text(f"\n{title}", style="bold")
    yield Text(f"  not known: {why_missing}", style="red") if found is None else render(found)


def _alarms(alarms: tuple[Alarm, ...]) -> Iterator[RenderableType]:
    if not alarms:
        yield Text("no alarm stands", style="green")
        return
    yield Text(f"\nAlarms: {len(alarms)}", style="bold red")
    table = _table("", "subject", ">count", ">since", "what")
    for alarm in alarms:
        since = _NONE if alarm.since is None else f"{alarm.since:%m-%d %H:%M}"
        count = "" if alarm.count is None else str(alarm.count)
        table.add_row(f"[red]{alarm.code}[/]", escape(alarm.subject), count, since, escape(_what(alarm)))
    yield table


def _what(alarm: Alarm) -> str:
    if not alarm.acknowledged_by:
        return alarm.text
    until = alarm.acknowledged_until
    return f"{alarm.text} (acknowledged by {alarm.acknowledged_by}" + (
        ")" if until is None else f" until {until:%m-%d %H:%M})"
    )


def _table(*headings: str) -> Table:
    """Words stand left and fold, figures right: the headings of the latter begin with ``>``."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for heading in headings:
        if heading.startswith(">"):
            table.add_column(heading[1:], justify="right", no_wrap=True)
        else:
            table.add_column(heading, overflow="fold")
    return table


def _queue(classes: tuple[QueuedClass, ...]) -> Table:
    table = _table("class", ">waiting", ">oldest", ">in analysis")
    for item in classes:
        table.add_row(item.priority, str(item.waiting), age(item.oldest_waiting_s), str(item.analysing))
    return table


def _backlog(backlog: Backlog) -> str:
    if backlog.why:
        return f"{backlog.studies} to do; {backlog.why}"
    if not backlog.studies or backlog.done_in_s is None:
        return "nothing to do"
    rate = f"{backlog.seconds_per_study:.1f} s a study, workers: {backlog.analysis_workers}"
    return f"{backlog.studies} to do, done in {age(backlog.done_in_s)} ({rate})"


def _processes(processes: tuple[RunningProcess, ...], at: datetime) -> RenderableType:
    if not processes:
        return Text("  none has told that it runs")
    table = _table("role", "host:pid", ">up", ">told", "device", "models, engines")
    for item in processes:
        told = f"{item.silent_s:.0f} s ago"
        models = ", ".join(f"{model.name} {model.version} ({model.engine})" for model in item.models)
        table.add_row(
            item.role,
            escape(f"{item.host}:{item.pid}"),
            age(max(0.0, (at - item.started_at).total_seconds())),
            f"[red]GONE, {told}[/]" if item.is_gone else told,
            item.device or _NONE,
            escape(models or _NONE),
        )
    return table


def _flow(flow: Flow) -> RenderableType:
    return Group(_counts(flow), Text(""), _times(flow))


def _counts(flow: Flow) -> Table:
    table = _table("", ">last hour", ">last day")
    for name, words in _COUNTS.items():
        table.add_row(words, str(getattr(flow.last_hour, name)), str(getattr(flow.last_day, name)))
    return table


def _times(flow: Flow) -> Table:
    table = _table("time from", ">hour: p50", ">p95", ">studies", ">day: p50", ">p95", ">studies")
    for hop in flow.hops:
        table.add_row(_HOPS[hop.name], *_spread(hop.last_hour), *_spread(hop.last_day))
    return table


def _spread(spread: Spread | None) -> tuple[str, str, str]:
    if spread is None:
        return _NONE, _NONE, "0"
    return age(spread.p50_s), age(spread.p95_s), str(spread.studies)


def _destinations(destinations: tuple[DestinationLoad, ...]) -> RenderableType:
    if not destinations:
        return Text("  none is configured")
    table = _table(
        "objects to", ">waiting", ">held", ">oldest", ">stored 1 h", ">24 h", ">ended", "last answer"
    )
    for item in destinations:
        table.add_row(
            escape(item.name),
            str(item.objects_waiting),
            str(item.objects_held),
            age(item.oldest_waiting_s),
            str(item.objects_stored_last_hour),
            str(item.objects_stored_last_day),
            str(item.objects_ended_last_day),
            escape(item.last_answer or _NONE),
        )
    return table


def _pauses(pauses: tuple[StandingPause, ...]) -> Iterator[RenderableType]:
    """Nothing where nothing rests, which is usual."""
    if pauses:
        yield Text("\nPaused", style="bold yellow")
    for item in pauses:
        until = "somebody resumes it" if item.until is None else f"{item.until:%m-%d %H:%M}"
        reason = f": {item.reason}" if item.reason else ""
        yield Text(f"  {item.name} since {item.since:%m-%d %H:%M} until {until} ({item.made_by}{reason})")


def _disk(disk: Disk) -> Text:
    free = (
        f"{_size(disk.free_bytes)} of {_size(disk.total_bytes)} free, {_size(disk.reserved_bytes)} reserved"
    )
    oldest = "" if disk.spool_oldest_s is None else f", the oldest {age(disk.spool_oldest_s)} old"
    return Text(f"  {free}; files in the spool: {disk.spool_files}{oldest}")


def _stored(stored: Stored) -> Text:
    left = "" if stored.days_left is None else f", {stored.days_left:,.0f} days left"
    return Text(
        f"  images {_size(stored.store_bytes)}, database {_size(stored.database_bytes)}; "
        f"grows by {_size(stored.growth_bytes_per_day)} a day{left}; "
        f"set aside within a day: {stored.quarantined_last_day}"
    )


def age(seconds: float | None) -> str:
    """Two significant units: ``4.2 s``, ``3 min 20 s``, ``2 h 05 min``, ``3 d 04 h``."""
    if seconds is None:
        return _NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02} h"


def _size(size_bytes: float) -> str:
    """In decimal units, as vendors of disks count."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
