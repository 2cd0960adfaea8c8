"""One store request: its parts go into the spool as they come, one after the other."""

from typing import Final

import structlog

from dicom_listener.files.intake import OUT_OF_RESOURCES, FileIntake, NotTaken
from dicom_listener.spool import AssociationInfo, Spool
from dicom_listener.stow.answer import Failed, Outcome, Stored
from neurotriage.core.settings import StowSettings
from neurotriage.dicom.multipart import Malformed, MultipartReader, PartBegin, PartData, content_type
from neurotriage.dicom.peer_text import UID_LIMIT, peer_text

log = structlog.get_logger()

_BAD_REQUEST: Final = 400
_TOO_LARGE: Final = 413
_UNSUPPORTED: Final = 415
_OUT_OF_SPACE: Final = 503
_DICOM: Final = "application/dicom"


class StoreRequest:
    """Takes the body of a request in pieces of any size. Not thread-safe; it blocks while the disk works.

    ``study_instance_uid``: every instance must be of this study (PS3.18 10.5.1); empty: of any.
    """

    def __init__(
        self,
        spool: Spool,
        association: AssociationInfo,
        limits: StowSettings,
        boundary: bytes,
        study_instance_uid: str = "",
    ) -> None:
        self._spool, self._association, self._limits = spool, association, limits
        self._study = study_instance_uid
        self._reader = MultipartReader(boundary)
        self._intake: FileIntake | None = None
        self._parts = 0
        self._stored: list[Stored] = []
        self._failed: list[Failed] = []
        self._ended: int | None = None

    @property
    def ended(self) -> bool:
        """Whether the rest of the body changes nothing."""
        return self._ended is not None

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""
        try:
            for event in self._reader.feed(data):
                if isinstance(event, PartBegin):
                    self._begin(event)
                elif self._intake is not None:
                    self._take(self._intake, event.data if isinstance(event, PartData) else None)
                if self.ended:
                    return
        except Malformed as error:
            self._end(_BAD_REQUEST, str(error))

    def finish(self) -> Outcome:
        """What became of each part, once the body has come to its end."""
        if not self.ended and not self._reader.complete:
            self._end(_BAD_REQUEST, "the body ends early")
        self.discard()
        return Outcome(tuple(self._stored), tuple(self._failed), self._ended)

    def discard(self) -> None:
        """Delete the part that is not whole; what was stored stays."""
        if self._intake is not None:
            self._intake.discard()
            self._intake = None

    def _begin(self, part: PartBegin) -> None:
        self._parts += 1
        media_type = content_type(part.headers.get("content-type", _DICOM)).media_type
        if self._parts > self._limits.max_parts:
            self._end(_TOO_LARGE, "too many parts")
        elif media_type != _DICOM:
            self._end(_UNSUPPORTED, "a part is no application/dicom")
        else:
            self._intake = FileIntake(
                self._spool,
                self._association,
                limit_bytes=self._limits.max_part_bytes,
                study_instance_uid=self._study,
            )

    def _take(self, intake: FileIntake, data: bytes | None) -> None:
        """The next bytes of a part; None: its end."""
        try:
            if data is not None:
                intake.feed(data)
                return
            intake.commit()
            if intake.start is not None:
                self._stored.append(Stored(intake.start.sop_class_uid, intake.start.sop_instance_uid))
            self._intake = None
        except NotTaken as refused:
            self._refuse(intake, refused.failure_reason, str(refused))
        except OSError as error:
            log.error("instance_not_stored", error=error.strerror)
            self._refuse(intake, OUT_OF_RESOURCES, "the storage takes no more")
            if not self._stored:
                self._end(_OUT_OF_SPACE, "the storage takes no more")

    def _refuse(self, intake: FileIntake, failure_reason: int, why: str) -> None:
        start = intake.start
        sop_class, sop_instance = (start.sop_class_uid, start.sop_instance_uid) if start else ("", "")
        self._failed.append(
            Failed(peer_text(sop_class, UID_LIMIT), peer_text(sop_instance, UID_LIMIT), failure_reason)
        )
        log.warning("instance_refused", peer_host=self._association.peer_host, reason=why)
        self.discard()

    def _end(self, status: int, why: str) -> None:
        log.warning("store_request_ended", peer_host=self._association.peer_host, status=status, reason=why)
        self._ended = status
        self.discard()
