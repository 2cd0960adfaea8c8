"""What every channel has in common."""

from pathlib import Path
from typing import Protocol

from neurotriage.operations.telling.message import Message


class ChannelFailed(Exception):
    """The channel did not take the message; the text says why, and holds no secret."""


class Channel(Protocol):
    """A way to tell people. Both calls may block; each wait for the other side has an end."""

    @property
    def name(self) -> str:
        """That of its table in the configuration."""

    def send(self, message: Message) -> None:
        """Return once the other side has taken it. Raises ``ChannelFailed``."""

    def check(self) -> str:
        """Do all but send; what was found, in words. Raises ``ChannelFailed``."""


def read_secret(path: Path, *, at_least: int = 1) -> bytes:
    """A secret of a file, without white space around it. Raises ``ChannelFailed`` naming the file."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ChannelFailed(f"{path}: {error.strerror}") from error
    if len(secret) < at_least:
        raise ChannelFailed(f"{path}: holds fewer than {at_least} bytes")
    return secret
