"""Without Postgres there is no table to note alarms in: the outage is told from memory, once per channel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from db.operations.alarm_notices import Event
from neurotriage.core.alarm_code import AlarmCode
from neurotriage.core.retries import retry_delay_s
from neurotriage.core.settings import AlarmsSettings
from neurotriage.operations.telling.channels import Channels
from neurotriage.operations.telling.message import message_without_rows
from neurotriage.operations.values import Alarm

log = structlog.get_logger()


@dataclass
class Outage:
    """An outage of Postgres as this process sees it; each of several that watch tells it."""

    settings: AlarmsSettings
    found_at: datetime
    alarms: tuple[Alarm, ...] = ()
    was_long: bool = False  # so that it is told, and then its end; by the clock of this host alone
    _tries: dict[str, int] = field(default_factory=dict)
    _next_try_at: dict[str, datetime] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def goes_on(self, alarms: Sequence[Alarm], why: str, channels: Channels) -> None:
        """Tell it once it has lasted for ``after_s``, to each channel until that takes it.

        Where all can be asked, what is told is that no alarm can be noted, and ``why``.
        """
        at = datetime.now(UTC)
        unknown = tuple(alarm for alarm in alarms if alarm.code is AlarmCode.UNKNOWN)
        text = f"alarms can be neither noted nor told, `neurotriage status` shows them: {why}"
        not_noted = Alarm(AlarmCode.UNKNOWN, "alarms", self.found_at, None, text)
        self.alarms = unknown or self.alarms or (not_noted,)
        self.was_long = self.was_long or at - self.found_at >= timedelta(seconds=self.settings.after_s)
        if not self.was_long:
            return
        message = message_without_rows(self.alarms, Event.BEGAN, self.found_at, at)
        due = [name for name in channels.names if self._is_due(name, at)]
        channels.send(dict.fromkeys(due, message), lambda name, error: self._noted(name, error, at))

    def _is_due(self, name: str, at: datetime) -> bool:
        if name in self._told or self._tries.get(name, 0) >= self.settings.max_tries:
            return False
        return name not in self._next_try_at or at >= self._next_try_at[name]

    def _noted(self, name: str, error: str | None, at: datetime) -> None:
        if error is None:
            log.info("outage_told", channel=name)
            self._told.add(name)
            return
        log.warning("outage_not_told", channel=name, error=error)
        limits = self.settings
        self._tries[name] = self._tries.get(name, 0) + 1
        delay_s = retry_delay_s(self._tries[name], first_s=limits.retry_s, longest_s=limits.retry_max_s)
        self._next_try_at[name] = at + timedelta(seconds=delay_s)
