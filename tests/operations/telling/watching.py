"""A watch that tells at once, and what its tables hold."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from db.operations.alarm_history import PastAlarm, history
from neurotriage.core.settings import (
    AlarmsSettings,
    Settings,
    StorageSettings,
)
from neurotriage.operations.telling.channel import Channel
from neurotriage.operations.telling.channels import Channels, configured
from neurotriage.operations.telling.watcher import Watcher


def settings_of(folder: Path, **alarms: Any) -> Settings:
    """With every time as short as can be."""
    at_once = {"every_s": 0.2, "after_s": 0, "retry_s": 0.001, "retry_max_s": 0.001, "limit_s": 20}
    storage = StorageSettings(root=folder, min_free_bytes=0)
    return Settings(storage=storage, alarms=AlarmsSettings(**{**at_once, **alarms}))


def watcher_of(engine: Engine, folder: Path, **alarms: Any) -> Watcher:
    """Of the channels that are given."""
    settings = settings_of(folder, **alarms)
    assert settings.alarms is not None
    channels: tuple[Channel, ...] = configured(settings.alarms)
    return Watcher(engine, settings, settings.alarms, Channels(channels, settings.alarms.limit_s))


def looks(watcher: Watcher, number: int) -> None:
    for _ in range(number):
        watcher.look()


def past(engine: Engine) -> tuple[PastAlarm, ...]:
    with engine.connect() as connection:
        return history(connection, ended=True, limit=100)
