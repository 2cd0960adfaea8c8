"""The configured channels, all tried at once, each within a limit."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from neurotriage.core.settings import AlarmsSettings
from neurotriage.operations.telling.channel import Channel, ChannelFailed
from neurotriage.operations.telling.command import Command
from neurotriage.operations.telling.mail import Mail
from neurotriage.operations.telling.message import Message
from neurotriage.operations.telling.webhook import Webhook

_BUSY: Final = "still busy with what it was given before"


def configured(settings: AlarmsSettings) -> tuple[Channel, ...]:
    """The channels that the configuration names."""
    made: list[Channel] = []
    if settings.mail is not None:
        made.append(Mail(settings.mail, settings.limit_s))
    if settings.webhook is not None:
        made.append(Webhook(settings.webhook, settings.limit_s))
    if settings.command is not None:
        made.append(Command(settings.command, settings.limit_s))
    return tuple(made)


@dataclass
class _Try:
    """A message on its way by one channel."""

    channel: Channel
    message: Message
    error: str | None = "no answer"
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        # A daemon: a peer that never stops answering slowly does not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name=f"tell by {self.channel.name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.channel.send(self.message)
        except ChannelFailed as failed:
            self.error = str(failed)
        except Exception as error:  # noqa: BLE001 - a bug in one channel must not stop the others
            self.error = f"a bug of ours: {type(error).__name__}"
        else:
            self.error = None


class Channels:
    """Sends messages by the configured channels. Used from one thread."""

    def __init__(self, channels: tuple[Channel, ...], limit_s: float) -> None:
        self._channels, self._limit_s = channels, limit_s
        self._hanging: dict[str, _Try] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(channel.name for channel in self._channels)

    def send(self, messages: Mapping[str, Message], took: Callable[[str, str | None], None]) -> None:
        """Send each channel its message, all at once; tell ``took`` of each why it failed (None: it did not).

        A channel that hangs has failed, and is left alone until it is done; what it took by then is taken.
        """
        tries: dict[str, _Try | None] = {}
        for channel in self._channels:
            if channel.name in messages:
                tries[channel.name] = self._try(channel, messages[channel.name])
        for name, attempt in tries.items():
            if attempt is None:
                took(name, _BUSY)
                continue
            attempt.thread.join(self._limit_s)
            if attempt.thread.is_alive():
                self._hanging[name] = attempt
                took(name, f"no answer within {self._limit_s:g} s")
            else:
                took(name, attempt.error)

    def _try(self, channel: Channel, message: Message) -> _Try | None:
        """The message on its way, or the earlier try that took it late; None while the channel hangs."""
        hanging = self._hanging.get(channel.name)
        if hanging is not None:
            if hanging.thread.is_alive():
                return None
            del self._hanging[channel.name]
            if hanging.error is None and _causes(message) <= _causes(hanging.message):
                return hanging
        return _Try(channel, message)


def _causes(message: Message) -> set[tuple[int, str, str, str]]:
    return {(told.id, told.event, told.code, told.subject) for told in message.alarms}
