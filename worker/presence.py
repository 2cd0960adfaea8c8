"""A worker process tells that it runs, and with which models, from a thread of its own."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.operations.presence import BEAT_EVERY_S, Presence
from db.operations.processes import LoadedModel
from neurotriage.core.errors import Unavailable

if TYPE_CHECKING:
    from worker.vision.model import Model

log = structlog.get_logger()

# A statement of the thread may still wait for Postgres.
_JOIN_S: Final = 5.0


class PresenceKeeper:
    """Renews the row of this process from ``start`` to ``end``. ``loaded``: the models it has loaded so far.

    Used in a process of the pool, after the fork.
    """

    def __init__(self, engine: Engine, role: str, loaded: "Callable[[], tuple[Model, ...]]") -> None:
        self._presence = Presence(engine, role)
        self._loaded = loaded
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell_now(self) -> None:
        """Tell at once, because models were loaded."""
        self._wake.set()

    def end(self) -> None:
        """Stop telling, and delete the row."""
        self._stopping = True
        self._wake.set()
        self._thread.join(_JOIN_S)
        self._presence.leave()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._stopping:
                return
            try:
                self._tell()
            except (Unavailable, SQLAlchemyError) as error:  # a worker works on without it
                log.warning("presence_not_told", kind=type(error).__name__)
            self._wake.wait(BEAT_EVERY_S)

    def _tell(self) -> None:
        models = self._loaded()
        devices = "+".join(dict.fromkeys(model.engine.device for model in models))
        told = [LoadedModel(model.card.name, model.card.version, model.engine.name) for model in models]
        self._presence.tell(devices, told)
