"""DIMSE messages of an association, with a limit for every buffer and for every pause."""

import time
from typing import Any, Final

import structlog
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu_primitives import P_DATA

from dicom_listener.association.request import Request, escaped

log = structlog.get_logger()

# No command set of PS3.7 comes near this.
_MAX_COMMAND_BYTES: Final = 65_536
# A data set is held in memory until it is written; no image of a head study is larger.
_MAX_DATA_SET_BYTES: Final = 2 * 1024**3
# We negotiate one operation at a time (PS3.7 D.3.3.3); a peer that sends ahead anyway is aborted.
_MAX_WAITING_MESSAGES: Final = 2
# A peer that sends less than this, and completes nothing, makes no progress.
PROGRESS_BYTES: Final = 65_536
# pynetdicom does not treat a C-STORE-RQ without a SOP Instance UID as a valid request.
_NO_UID: Final = UID("")
# PS3.8 table 9-6, Evt19: unrecognised or invalid PDU. The state machine answers with A-ABORT.
_INVALID_PDU: Final = "Evt19"


class GuardedMessages(DIMSEServiceProvider):
    """Assembles DIMSE messages within limits; a message that breaks them ends the association.

    So does a lack of progress, which ``get_msg`` checks: the reactor calls it a thousand times a second while
    no message is being served.
    """

    def __init__(self, association: Association, progress_timeout_s: float) -> None:
        super().__init__(association)
        self.request: Request | None = None
        self._progress_timeout_s = progress_timeout_s
        self._progressed_at = time.monotonic()
        self._moved_bytes = 0
        self._ended = False

    def receive_primitive(self, primitive: P_DATA) -> None:
        problem = self._problem(primitive)
        if problem is None:
            super().receive_primitive(primitive)
            return
        self._end("protocol_violation", problem=problem)

    def get_msg(self, block: bool = False) -> tuple[Any, Any]:
        """The next valid message. pynetdicom never answers an invalid one; here it ends the association."""
        context_id, message = super().get_msg(block)
        if message is None:
            self._watch()
            return None, None
        if isinstance(message, C_STORE) and message.AffectedSOPInstanceUID is None:
            message._affected_sop_instance_uid = _NO_UID  # refused later as an invalid UID
        if not message.is_valid_request:
            self._end("invalid_message")
            return None, None
        self._set_sop_class(context_id, message)
        return context_id, message

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a response. A stored data set counts as progress, an echo does not."""
        super().send_msg(primitive, context_id)
        if not isinstance(primitive, C_ECHO):
            self._progress()

    def _set_sop_class(self, context_id: int | None, message: Any) -> None:
        """Use the SOP class of the presentation context; pynetdicom would abort where the command differs."""
        context = self.assoc._accepted_cx.get(context_id or 0)
        if (
            isinstance(message, C_STORE)
            and context
            and message.AffectedSOPClassUID != context.abstract_syntax
        ):
            log.warning(
                "sop_class_mismatch",
                peer_host=self.assoc.requestor.address,
                sop_class=escaped(str(message.AffectedSOPClassUID).encode()),
                context=str(context.abstract_syntax),
            )
            message.AffectedSOPClassUID = context.abstract_syntax

    def _progress(self) -> None:
        self._progressed_at, self._moved_bytes = time.monotonic(), 0

    def _watch(self) -> None:
        if time.monotonic() - self._progressed_at > self._progress_timeout_s:
            self._end("association_without_progress", after_s=self._progress_timeout_s)
        elif self.dul.idle_timer_expired() and not self._ended:
            self._ended = True  # pynetdicom aborts it now
            log.info("association_idle", peer_host=self.assoc.requestor.address)

    def _end(self, event: str, **details: object) -> None:
        if not self._ended:
            self._ended = True
            log.warning(event, peer_host=self.assoc.requestor.address, **details)
            self.dul.event_queue.put(_INVALID_PDU)

    def _problem(self, primitive: P_DATA) -> str | None:
        if self.msg_queue.qsize() > _MAX_WAITING_MESSAGES:
            return "sends ahead of our answers"
        command_bytes = self.message.encoded_command_set.tell() if self.message else 0
        data_set_bytes = self.message.data_set.tell() if self.message and self.message.data_set else 0
        for context_id, fragment in primitive.presentation_data_value_list:
            if context_id not in self.assoc._accepted_cx:
                return "sends on a presentation context that was not accepted"
            if not fragment:
                return "sends a fragment without control header"
            if fragment[0] & 1:  # PS3.8 E.2: command, not data set
                command_bytes += len(fragment)
            else:
                data_set_bytes += len(fragment)
                self._moved_bytes += len(fragment)
        if self._moved_bytes >= PROGRESS_BYTES:
            self._progress()
        if command_bytes > _MAX_COMMAND_BYTES:
            return "sends a command set without end"
        return "sends a data set without end" if data_set_bytes > _MAX_DATA_SET_BYTES else None
