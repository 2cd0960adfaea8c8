"""The roles of an installation."""

from neurotriage.core.process import running
from neurotriage.core.process.role import Role
from neurotriage.core.settings import Settings


def needed_roles(settings: Settings) -> tuple[str, ...]:
    """The roles that must run somewhere with this configuration."""
    return (
        running.LISTENER,
        Role.ANALYSIS,
        *([Role.DELIVERY] if settings.destination else []),
        *([Role.SUMMARY] if settings.summary.asks else []),
        *([running.WATCH] if settings.alarms is not None else []),
    )
