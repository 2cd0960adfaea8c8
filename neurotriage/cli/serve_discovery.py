"""Find the servers of a ``neurotriage serve`` that runs on this host.

While it runs, ``serve`` holds a lock below the storage folder and keeps its addresses beside it. The kernel
releases the lock however the process ends, so addresses without a held lock are stale.
"""

import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import BrokerSettings, DatabaseSettings, Settings, load_settings
from neurotriage.core.storage import make_private, write_durably

_LOCK: Final = "lock"
_ADDRESSES: Final = "addresses.json"
# A command that only checks holds the lock for a moment, too.
_TRIES, _TRY_AGAIN_S = 20, 0.05


def serve_folder(settings: Settings) -> Path:
    """The folder in which ``serve`` keeps its servers' data, its logs and its addresses."""
    return settings.storage.root.absolute() / "serve"


class Serving:
    """Makes this process the only ``serve`` of a folder: ``with Serving(folder) as serving: ...``

    Raises ``Unavailable`` if another one runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

    def __enter__(self) -> Self:
        make_private(self._folder)
        self._lock = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        for _ in range(_TRIES):
            if _locked(self._lock, fcntl.LOCK_EX):
                (self._folder / _ADDRESSES).unlink(missing_ok=True)  # of one that was killed
                return self
            time.sleep(_TRY_AGAIN_S)
        os.close(self._lock)
        raise Unavailable(
            f"another `neurotriage serve` runs in {self._folder}: stop it, or set another [storage] root"
        )

    def publish(self, settings: Settings) -> None:
        """Write the addresses for the other commands, readable by our own user alone: they hold passwords."""
        addresses = {"database_url": settings.database.url, "broker_url": settings.broker.url}
        write_durably(self._folder / _ADDRESSES, json.dumps(addresses).encode())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        (self._folder / _ADDRESSES).unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)


def settings_beside_serve() -> Settings:
    """The configuration; if it names neither database nor broker, with those of a running ``serve``.

    Raises ``ConfigurationError``, and ``Unavailable`` if ``serve`` runs and its addresses cannot be read.
    """
    settings = load_settings()
    if names_servers(settings):
        return settings
    folder = serve_folder(settings)
    if not runs(folder):
        return settings
    try:
        addresses = json.loads((folder / _ADDRESSES).read_bytes())
    except FileNotFoundError:
        raise Unavailable(f"`neurotriage serve` in {folder} is starting or stopping: try again") from None
    return settings.model_copy(
        update={
            "database": DatabaseSettings(url=addresses["database_url"]),
            "broker": BrokerSettings(url=addresses["broker_url"]),
        }
    )


def names_servers(settings: Settings) -> bool:
    """Whether the configuration itself names a database or broker."""
    return any("url" in section.model_fields_set for section in (settings.database, settings.broker))


def runs(folder: Path) -> bool:
    """Whether a ``serve`` of this folder runs. Raises ``Unavailable`` if it belongs to another user."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    except PermissionError:
        raise Unavailable(
            f"{folder} belongs to another user: run this as the user that runs `neurotriage serve`"
        ) from None
    try:
        return not _locked(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _locked(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
