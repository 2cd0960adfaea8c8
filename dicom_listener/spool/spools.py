"""Every spool below a storage root, read as one.

Each process that receives has a spool of its own (a listener, an import, a pull, STOW-RS); one ingester
records them all.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from neurotriage.core.storage import Storage


class Spooled(Protocol):
    """What an ingester reads; each list in order of arrival."""

    def waiting(self) -> list[Path]:
        """Complete instances."""

    def reports(self) -> list[Path]:
        """Storage commitment reports."""

    def refused(self) -> list[Path]:
        """Notes of rejected presentation contexts."""

    def rejected(self) -> list[Path]:
        """Notes of rejected associations."""

    def ended(self) -> list[Path]:
        """Notes of how associations ended."""

    def commitments(self) -> list[Path]:
        """Notes of requests for storage commitment."""


class Spools:
    """The spools of all processes that receive, also of those that start later."""

    def __init__(self, storage: Storage) -> None:
        self._root = storage.spools

    def waiting(self) -> list[Path]:
        return _by_arrival(self._root.glob("*/new/*.dcm"))

    def reports(self) -> list[Path]:
        return _by_arrival(self._root.glob("*/reports/*.dcm"))

    def refused(self) -> list[Path]:
        return _by_arrival(self._root.glob("*/refused/*.json"))

    def rejected(self) -> list[Path]:
        return _by_arrival(self._root.glob("*/rejected/*.json"))

    def ended(self) -> list[Path]:
        return _by_arrival(self._root.glob("*/ended/*.json"))

    def commitments(self) -> list[Path]:
        return _by_arrival(self._root.glob("*/commitments/*.json"))


def _by_arrival(paths: Iterable[Path]) -> list[Path]:
    """Names begin with the time at which writing began."""
    return sorted(paths, key=lambda path: path.name)
