"""Whether there is room on the disk to receive, between a low and a high watermark."""

import errno
from collections.abc import Callable

import structlog

log = structlog.get_logger()


class Room:
    """Refuses from ``low_bytes`` of free space on, until there are more than ``high_bytes`` again.

    So a disk that is nearly full does not take every other image.
    """

    def __init__(self, free_bytes: Callable[[], int], low_bytes: int, high_bytes: int) -> None:
        self._free_bytes = free_bytes
        self.low_bytes, self.high_bytes = low_bytes, max(low_bytes, high_bytes)
        self._is_short = False

    def require(self, size_bytes: int) -> None:
        """Raise ``OSError`` (ENOSPC) where ``size_bytes`` more may not be received."""
        left_bytes = self._free_bytes() - size_bytes
        short = left_bytes < (self.high_bytes if self._is_short else self.low_bytes)
        if short != self._is_short:
            self._is_short = short
            tell = log.error if short else log.info
            tell("disk_short" if short else "disk_has_room_again", free_bytes=left_bytes)
        if short:
            raise OSError(errno.ENOSPC, "free space is below [storage] min_free_bytes or min_free_percent")
