"""Which roles can do their work, by the snapshot: a pure function."""

from collections.abc import Iterator, Mapping

from db.operations.processes import RunningProcess
from neurotriage.core.process import running
from neurotriage.core.process.role import Role
from neurotriage.core.settings import Settings
from neurotriage.operations.facts import Section
from neurotriage.operations.roles import needed_roles
from neurotriage.operations.values import Snapshot


def alive(snapshot: Snapshot, role: str, host: str = "") -> tuple[RunningProcess, ...]:
    """The processes of a role that told within a minute that they run; ``host``: on this one only."""
    return tuple(
        item
        for item in snapshot.processes or ()
        if item.role == role and not item.is_gone and host in ("", item.host)
    )


def not_ready(snapshot: Snapshot, settings: Settings, host: str = "") -> Mapping[str, str]:
    """Why each needed role cannot do its work; empty for one that can."""
    return {role: "; ".join(_causes(snapshot, role, host)) for role in needed_roles(settings)}


def _causes(snapshot: Snapshot, role: str, host: str) -> Iterator[str]:
    if snapshot.processes is None:
        yield snapshot.missing.get(Section.PROCESSES, "")
        return
    processes = alive(snapshot, role, host)
    if not processes:
        yield f"no process of the role {role} runs" + (f" on {host}" if host else "")
    elif role == Role.ANALYSIS and not any(item.models for item in processes):
        yield "no process has loaded its models yet"
    if role != running.LISTENER:
        return
    if snapshot.disk is None:
        yield snapshot.missing.get(Section.DISK, "")
    elif snapshot.disk.free_bytes < snapshot.disk.reserved_bytes:
        yield "the disk is short of space: nothing is received"
