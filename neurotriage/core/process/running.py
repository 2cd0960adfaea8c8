"""Notes that services leave when they start, so that a later edit of the configuration is noticed.

A service reads the configuration once. Below the storage folder it leaves a digest of each
section that it uses.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from neurotriage.core.process.role import Role
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage, write_durably

LISTENER: Final = "listen"
STOW: Final = "stow"
METRICS: Final = "metrics"
WATCH: Final = "watch"
_SERVERS: Final = ("database", "broker", "storage")
# The sections that each service uses.
SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    LISTENER: ("listener", "peer", "assembly", "delivery", "summary", *_SERVERS),
    Role.ANALYSIS: ("worker", "selection", "results", "summary", "destination", *_SERVERS),
    STOW: ("stow", "listener", "peer", "storage"),
    METRICS: ("metrics", "operations", "destination", "summary", *_SERVERS),
    WATCH: ("alarms", "operations", "destination", "summary", *_SERVERS),
    Role.DELIVERY: ("delivery", "destination", "peer", *_SERVERS),
    Role.SUMMARY: ("summary", "worker", "results", "destination", *_SERVERS),
}
_TABLES: Final = ("destination", "peer")  # sections of any number of tables
_MAX_KEPT: Final = 200  # notes of workers that ended long ago


def note_start(settings: Settings, role: str, name: str) -> None:
    """Note the configuration of a service of ``role``; ``name`` tells it from others of that role.

    A full disk or a missing folder leaves no note and raises nothing: the service starts all the same.
    """
    folder = Storage(settings.storage.root).running
    note = {"started_at": datetime.now(UTC).isoformat(), "sections": _digests(settings, role)}
    if not settings.storage.root.is_dir():
        return
    with suppress(OSError):
        write_durably(folder / f"{name}.json", json.dumps(note).encode())
        notes = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in notes[:-_MAX_KEPT]:
            path.unlink(missing_ok=True)


def edited_since(settings: Settings, role: str, name: str) -> list[str]:
    """The sections that were edited since the service started: ``[listener]``, ``[[peer]]``.

    Empty if it left no note.
    """
    try:
        note = json.loads((Storage(settings.storage.root).running / f"{name}.json").read_bytes())
        noted: dict[str, str] = note["sections"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    now = _digests(settings, role)
    return [_as_written(section) for section in now if noted.get(section, now[section]) != now[section]]


def _digests(settings: Settings, role: str) -> dict[str, str]:
    root = settings.storage.root.absolute()
    absolute = settings.model_copy(update={"storage": settings.storage.model_copy(update={"root": root})})
    values = absolute.model_dump(mode="json")
    values["selection"]["content"] = _digest_of(settings.selection.rules)
    return {
        section: sha256(json.dumps(values[section], sort_keys=True).encode()).hexdigest()
        for section in SECTIONS[role]
    }


def _digest_of(file: Path | None) -> str:
    """SHA-256 of a file that the configuration names, hex; empty where there is none."""
    try:
        return "" if file is None else sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def _as_written(section: str) -> str:
    return f"[[{section}]]" if section in _TABLES else f"[{section}]"
