"""Assembles the DIMSE messages of an association (PS3.7 6.3, PS3.8 annex E) within limits."""

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from dicom_listener.association.commands import Command, UnreadableCommand, read_command
from dicom_listener.association.negotiation import AcceptedContext
from dicom_listener.association.pdus import IS_COMMAND, IS_LAST

# No command set of PS3.7 comes near this.
_MAX_COMMAND_BYTES: Final = 65_536


class Violation(Exception):
    """A peer breaks the protocol, so the association must end; the message says how."""


class DataSet(Protocol):
    """Where the bytes of a data set go: how many came since when (monotonic clock)."""

    size_bytes: int
    begun_at: float

    def add(self, data: memoryview) -> bool:
        """Take bytes; False where no more should be read for now."""


class Dropped:
    """Takes a data set that will be refused when it has come to its end."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.begun_at = time.monotonic()

    def add(self, data: memoryview) -> bool:
        self.size_bytes += len(data)
        return True


class Messages:
    """The messages of one association, fragment by fragment.

    ``on_command`` gets each complete command set, and gives where the data set goes that follows it;
    ``on_message`` is called when a message is complete.
    """

    def __init__(
        self,
        accepted: Mapping[int, AcceptedContext],
        *,
        max_object_bytes: int,
        on_command: Callable[[Command, int, AcceptedContext], DataSet | None],
        on_message: Callable[[Command, int, DataSet | None], None],
    ) -> None:
        self._accepted = accepted
        self._max_object_bytes = max_object_bytes
        self._on_command, self._on_message = on_command, on_message
        self._command_bytes = bytearray()
        self._command: Command | None = None
        self._context_id = 0
        self._data_set: DataSet | None = None
        self._control = 0

    @property
    def data_set(self) -> DataSet | None:
        """The data set that is being received."""
        return self._data_set

    @property
    def is_idle(self) -> bool:
        """Whether no message is unfinished."""
        return self._command is None and not self._command_bytes

    def begin_fragment(self, context_id: int, control: int) -> None:
        """A Presentation Data Value Item begins. Raises ``Violation``."""
        if context_id not in self._accepted:
            raise Violation("sends on a presentation context that was not accepted")
        if control & IS_COMMAND and self._command is not None:
            raise Violation("sends a command set where a data set is due")
        if not control & IS_COMMAND and self._command is None:
            raise Violation("sends a data set without its command set")
        if self._command is not None and context_id != self._context_id:
            raise Violation("sends a data set on another presentation context than its command set")
        self._context_id, self._control = context_id, control

    def add(self, data: memoryview) -> bool:
        """Bytes of the fragment; False where no more should be read for now. Raises ``Violation``."""
        if self._control & IS_COMMAND:
            self._command_bytes += data
            if len(self._command_bytes) > _MAX_COMMAND_BYTES:
                raise Violation("sends a command set without end")
            return True
        if self._data_set is None:
            return True
        if self._data_set.size_bytes + len(data) > self._max_object_bytes:
            raise Violation("sends an object longer than [listener] max_object_bytes")
        return self._data_set.add(data)

    def end_fragment(self) -> None:
        """The fragment is whole; if it is the last one, so is its command set or data set."""
        if not self._control & IS_LAST:
            return
        if self._control & IS_COMMAND:
            self._end_command()
        else:
            self._end_message()

    def _end_command(self) -> None:
        try:
            command = read_command(bytes(self._command_bytes))
        except UnreadableCommand as error:
            raise Violation(f"sends {error}") from error
        self._command_bytes = bytearray()
        self._command = command
        self._data_set = self._on_command(command, self._context_id, self._accepted[self._context_id])
        if not command.has_data_set:
            self._end_message()

    def _end_message(self) -> None:
        command, data_set = self._command, self._data_set
        self._command = self._data_set = None
        if command is not None:
            self._on_message(command, self._context_id, data_set)
