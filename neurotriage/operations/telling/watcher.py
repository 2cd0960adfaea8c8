"""The watch: look, note what changed, tell it. One process of several does so at a time."""

import threading
from collections.abc import Callable, Container
from datetime import UTC, datetime
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from db.engine import outage_as_unavailable
from db.operations import alarm_notices, alarms
from db.operations.alarm_notices import Event, OpenNotice
from db.operations.presence import BEAT_EVERY_S, Presence
from neurotriage.core.errors import Unavailable
from neurotriage.core.process import running
from neurotriage.core.settings import AlarmsSettings, Settings
from neurotriage.core.storage import Storage
from neurotriage.operations.reading import gather, wanted
from neurotriage.operations.snapshot import make_snapshot
from neurotriage.operations.telling.changes import changes
from neurotriage.operations.telling.channels import Channels
from neurotriage.operations.telling.message import message_of
from neurotriage.operations.telling.outage import Outage
from neurotriage.operations.values import Alarm, Snapshot

log = structlog.get_logger()

# Of one message; what is above comes with the next look.
_MAX_TOLD: Final = 100


class Watcher:
    """Looks at the installation and tells what changed; ``look`` is one pass. Used from one thread."""

    def __init__(
        self, engine: Engine, settings: Settings, watched: AlarmsSettings, channels: Channels
    ) -> None:
        self._engine, self._settings, self._watched = engine, settings, watched
        self._channels = channels
        self._outage: Outage | None = None
        self._taken: dict[str, dict[int, OpenNotice]] = {}  # by channel and id: sent, and not noted yet

    def look(self) -> None:
        """Note and tell what changed. Without Postgres that is told from memory; nothing is raised for it."""
        try:
            with outage_as_unavailable(), alarms.watching(self._engine) as is_ours:
                if is_ours:
                    self._note(self._snapshot())
                    self._tell()
        except Unavailable as error:
            log.warning("alarms_not_noted", error=str(error))
            self._outage = self._outage or Outage(self._watched, datetime.now(UTC))
            self._outage.goes_on(self._snapshot().alarms, str(error), self._channels)

    def _snapshot(self) -> Snapshot:
        storage = Storage(self._settings.storage.root)
        return make_snapshot(gather(self._engine, storage, wanted(self._settings)), self._settings)

    def _note(self, snapshot: Snapshot) -> None:
        """All rows of this look in one transaction: what changed, and what is to be told of it."""
        with self._engine.begin() as connection:
            at = alarms.now(connection)
            found = changes(alarms.standing(connection), snapshot.alarms, snapshot.missing, at, self._watched)
            alarms.begin(connection, [_row(alarm) for alarm in found.begin], at)
            for row_id, alarm in found.go_on:
                alarms.go_on(connection, row_id, _row(alarm), at)
            alarms.keep(connection, found.not_known, at)
            alarms.end(connection, found.end, at)
            past = [] if self._outage is None else self._past(connection, self._outage, at)
            alarm_notices.give(connection, [*found.due, *past], self._channels.names, at)
            alarm_notices.give_up_others(connection, self._channels.names)

        self._outage = None

    def _past(self, connection: Connection, outage: Outage, at: datetime) -> list[tuple[int, Event]]:
        """Note an outage that is over, where it was long enough to be told, so that its end is told."""
        if not outage.was_long:
            return []
        rows = [_row(alarm) for alarm in outage.alarms]
        ids = alarms.add_ended(connection, rows, min(outage.found_at, at), at)
        return [(row_id, Event.ENDED) for row_id in ids]

    def _tell(self) -> None:
        """One message per channel with all that it has not been told, where any of that is due."""
        for name in tuple(self._taken):
            self._note_taken(name)
        with self._engine.begin() as connection:
            waiting = {
                name: _due(connection, name, self._taken.get(name, {})) for name in self._channels.names
            }
        at = datetime.now(UTC)
        messages = {name: message_of(notices, at) for name, notices in waiting.items() if notices}
        self._channels.send(messages, lambda name, error: self._noted(name, waiting[name], error))

    def _noted(self, name: str, notices: tuple[OpenNotice, ...], error: str | None) -> None:
        if error is None:
            log.info("alarms_told", channel=name, alarms=len(notices))
            self._taken.setdefault(name, {}).update({notice.id: notice for notice in notices})
            self._note_taken(name)
            return
        log.warning("alarms_not_told", channel=name, error=error)
        limits = self._watched
        with self._engine.begin() as connection:
            alarm_notices.mark_failed(
                connection,
                notices,
                error,
                first_s=limits.retry_s,
                longest_s=limits.retry_max_s,
                max_tries=limits.max_tries,
            )

    def _note_taken(self, name: str) -> None:
        """Note what a channel took. Where that cannot be done, the next look does: it is not sent again."""
        try:
            with outage_as_unavailable(), self._engine.begin() as connection:
                alarm_notices.mark_sent(connection, tuple(self._taken[name].values()))
        except Unavailable as error:
            log.warning("alarms_not_noted", error=str(error))
            return
        del self._taken[name]


def _due(connection: Connection, channel: str, taken: Container[int]) -> tuple[OpenNotice, ...]:
    """What waits for a channel, but what it took; nothing while none of it is due."""
    found = alarm_notices.open_notices(connection, channel, _MAX_TOLD)
    notices = tuple(notice for notice in found if notice.id not in taken)
    return notices if any(notice.is_due for notice in notices) else ()


def _row(alarm: Alarm) -> dict[str, object]:
    names = ("code", "subject", "since", "count", "text")
    return {name: getattr(alarm, name) for name in names}


def watch(
    engine: Engine,
    settings: Settings,
    watched: AlarmsSettings,
    channels: Channels,
    stop: threading.Event,
    on_started: Callable[[], None],
) -> None:
    """Look every ``every_s`` until ``stop`` is set. No error of a look ends it."""
    watcher = Watcher(engine, settings, watched, channels)
    presence = Presence(engine, running.WATCH)
    _tell(presence)  # before the first look, which would miss it
    beating = threading.Thread(target=_beat, args=(presence, stop), name="presence")
    beating.start()
    on_started()
    log.info("watching", channels=list(channels.names))
    while not stop.is_set():
        try:
            watcher.look()
        except Exception:  # whoever watches the others must not end
            log.exception("look_failed")
        stop.wait(watched.every_s)
    beating.join()


def _beat(presence: Presence, stop: threading.Event) -> None:
    """Tell that this process runs: a look may last longer than others wait for that."""
    while not stop.wait(BEAT_EVERY_S):
        _tell(presence)
    presence.leave()


def _tell(presence: Presence) -> None:
    try:
        presence.tell()
    except Exception as error:  # noqa: BLE001 - it watches on without
        log.warning("presence_not_told", kind=type(error).__name__)
