"""Every spool below a storage root, read as one.

Each process that receives has a spool of its own (a listener, an import, a pull, STOW-RS); one ingester
records them all.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from dicom_listener.spool.listing import by_arrival
from neurotriage.core.spool_files import names_in
from neurotriage.core.storage import Storage


class Spooled(Protocol):
    """What an ingester reads; each list in order of arrival, without the names that are ``known``."""

    def waiting(self, known: Collection[str] = ()) -> list[Path]:
        """Complete instances."""

    def reports(self, known: Collection[str] = ()) -> list[Path]:
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

    def waiting(self, known: Collection[str] = ()) -> list[Path]:
        return by_arrival(self._every("new"), ".dcm", known)

    def reports(self, known: Collection[str] = ()) -> list[Path]:
        return by_arrival(self._every("reports"), ".dcm", known)

    def refused(self) -> list[Path]:
        return by_arrival(self._every("refused"), ".json")

    def rejected(self) -> list[Path]:
        return by_arrival(self._every("rejected"), ".json")

    def ended(self) -> list[Path]:
        return by_arrival(self._every("ended"), ".json")

    def commitments(self) -> list[Path]:
        return by_arrival(self._every("commitments"), ".json")

    def every(self) -> list[Path]:
        """All that waits to be recorded, of whatever kind."""
        notes = [*self.refused(), *self.rejected(), *self.ended(), *self.commitments()]
        return [*self.waiting(), *self.reports(), *notes]

    def _every(self, part: str) -> list[Path]:
        return [self._root / name / part for name in names_in(self._root)]
