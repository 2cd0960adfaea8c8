"""Checks of the channels by which alarms are told; nothing is sent."""

from collections.abc import Iterator

from neurotriage.core.process.running import WATCH, edited_since
from neurotriage.core.settings import AlarmsSettings, Settings
from neurotriage.doctor.check import Check, failed, ok, warning
from neurotriage.operations.telling.channel import ChannelFailed
from neurotriage.operations.telling.channels import configured


def look_at_alarms(settings: Settings, alarms: AlarmsSettings) -> Iterator[Check]:
    """Whether each channel could be used now."""
    channels = configured(alarms)
    if not channels:
        advice = "Add [alarms.mail], [alarms.webhook] or [alarms.command]."
        yield warning("channels", "none is configured: alarms are noted, and nobody is told", advice)
    for channel in channels:
        try:
            yield ok(channel.name, channel.check())
        except ChannelFailed as error:
            advice = f"Correct [alarms.{channel.name}]; then `neurotriage alarms --test` sends a message."
            yield failed(channel.name, str(error), advice)
    edited = edited_since(settings, WATCH, WATCH)
    if edited:
        text = f"configuration edited since the service started: {', '.join(edited)}"
        yield failed("service", text, "Restart `neurotriage watch` (or `serve`).")
