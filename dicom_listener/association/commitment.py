"""Requests for storage commitment on one association: N-ACTION (PS3.4 J.3.2), as its SCP."""

import errno
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Self

from pydicom.uid import ImplicitVRLittleEndian

from dicom_listener.association.commands import Command
from dicom_listener.association.negotiation import AcceptedContext
from dicom_listener.spool import AssociationInfo, RequestedCommitment, Spool
from neurotriage.core.settings import Settings
from neurotriage.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from neurotriage.dicom.commitment_request import (
    MAX_REQUEST_BYTES,
    NO_SUCH_ACTION,
    NO_SUCH_SOP_CLASS,
    NO_SUCH_SOP_INSTANCE,
    NOT_AUTHORIZED,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    RequestRefused,
    read_request,
)

_REQUEST: Final = (1).to_bytes(2, "little")  # action type (PS3.4 table J.3-1)


@dataclass(frozen=True, slots=True)
class CommitmentRoles:
    """Who may use a context of storage commitment in which role."""

    provided: bool  # by us: [listener] storage_commitment
    archives: frozenset[str]  # AE titles of which we ask it; some report without a role selection

    @classmethod
    def of(cls, settings: Settings) -> Self:
        asked = [d for d in settings.destination if d.type == "dimse" and d.commitment == "auto"]
        titles = {destination.ae_title.strip() for destination in asked if not destination.to_sender}
        if any(destination.to_sender for destination in asked):
            titles |= {peer.ae_title.strip() for peer in settings.peer if peer.port}
        return cls(settings.listener.storage_commitment, frozenset(titles))

    def needs_role(self, calling_ae_title: str) -> frozenset[str]:
        """SOP classes for which the peer must select a role: without one, it would be their SCU."""
        usable = self.provided or calling_ae_title in self.archives
        return frozenset() if usable else frozenset((PUSH_MODEL,))


class Collected:
    """Takes the data set of a request into memory; nothing is kept of one that is too long."""

    def __init__(self, context: AcceptedContext) -> None:
        self.implicit_vr = context.transfer_syntax_uid == ImplicitVRLittleEndian
        self.data = bytearray()
        self.size_bytes = 0
        self.begun_at = time.monotonic()

    @property
    def is_too_long(self) -> bool:
        return self.size_bytes > MAX_REQUEST_BYTES

    def add(self, data: memoryview) -> bool:
        self.size_bytes += len(data)
        if self.is_too_long:
            self.data = bytearray()
        else:
            self.data += data
        return True


class CommitmentRequests:
    """Takes the requests of one association into the spool. It belongs to the loop's thread.

    ``report_host``: where the peer is told what became of them; empty where it has no configured address.
    """

    def __init__(
        self,
        parties: AssociationInfo,
        report_host: str,
        spool: Spool,
        loop: AbstractEventLoop,
        disk: Executor,
    ) -> None:
        self._parties, self._report_host = parties, report_host
        self._spool, self._loop, self._disk = spool, loop, disk

    def refusal(self, command: Command) -> tuple[int, str] | None:
        """Why a request is refused whatever its data set says: status and reason."""
        if command.sop_class_uid != PUSH_MODEL.encode():
            return NO_SUCH_SOP_CLASS, "the SOP class is not that of the context"
        if command.sop_instance_uid != PUSH_MODEL_INSTANCE.encode():
            return NO_SUCH_SOP_INSTANCE, "not the well-known SOP instance"
        if command.action_type_id != _REQUEST:
            return NO_SUCH_ACTION, "not action type 1"
        if not self._report_host:
            return NOT_AUTHORIZED, "no [[peer]] says at which host and port to report"
        return None

    def take(self, collected: Collected, on_taken: Callable[[RequestRefused | None], None]) -> None:
        """Read a request and make it durable, by a thread; ``on_taken`` gets why that failed."""
        job = self._loop.run_in_executor(self._disk, self._note, collected)

        def done(job: "Future[None]") -> None:
            error = None if job.cancelled() else job.exception()
            on_taken(error if error is None or isinstance(error, RequestRefused) else _failed(error))

        job.add_done_callback(done)

    def _note(self, collected: Collected) -> None:
        if collected.is_too_long:
            raise RequestRefused(RESOURCE_LIMITATION, f"longer than {MAX_REQUEST_BYTES} bytes")
        request = read_request(bytes(collected.data), implicit_vr=collected.implicit_vr)
        self._spool.note_commitment(RequestedCommitment.of(self._parties, self._report_host, request))


def _failed(error: BaseException) -> RequestRefused:
    """Where the disk does not take it; there is room for a request once others were answered."""
    full = isinstance(error, OSError) and error.errno in (errno.EDQUOT, errno.ENOSPC)
    status = RESOURCE_LIMITATION if full else PROCESSING_FAILURE
    said = error.strerror if isinstance(error, OSError) else type(error).__name__
    return RequestRefused(status, said or "storage error")
