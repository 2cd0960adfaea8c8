"""Asks archives how many instances a study has: C-FIND with (0020,1208), in a thread of its own."""

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Final

import structlog
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_listener.assembly.study import StudyFacts
from neurotriage.core.errors import Unavailable
from neurotriage.core.reception import Sender
from neurotriage.core.settings import Peer, Settings
from neurotriage.dicom.attributes import whole_number
from neurotriage.dicom.requestor import associate

log = structlog.get_logger()

# Studies about which a question waits; the others are asked about when they are judged next.
_WAITING: Final = 64
# Status of C-FIND while there are matches, with or without optional keys (PS3.4 C.4.1.1.4).
_PENDING: Final = frozenset((0xFF00, 0xFF01))
_SUCCESS: Final = 0x0000


def ask(settings: Settings, peer: Peer, study_instance_uid: str) -> int:
    """Number of Study Related Instances (0020,1208) of a study, as a peer with a port counts them.

    Raises ``Unavailable`` where there is no answer, or none with one number.
    """
    known = [count for count in matches(settings, peer, study_instance_uid) if count is not None]
    if len(known) != 1 or known[0] < 0:
        raise Unavailable(f"{peer.ae_title} does not say how many instances the study has")
    return known[0]


def matches(settings: Settings, peer: Peer, study_instance_uid: str) -> list[int | None]:
    """The count of each match of a C-FIND at the level of the study; None where a match has none.

    One association, at most ``[assembly] count_timeout_s`` for each of its steps. Raises ``Unavailable``
    where the peer does not answer to the end.
    """
    entity = AE(settings.listener.ae_title)
    limit_s = settings.assembly.count_timeout_s
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = limit_s
    entity.connection_timeout = limit_s
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_instance_uid
    query.NumberOfStudyRelatedInstances = None
    try:
        association = associate(entity, peer.host, peer.port or 0, called=peer.ae_title)
    except OSError as error:
        raise Unavailable(f"{peer.ae_title}: {error.strerror or error}") from error
    if not association.is_established:
        raise Unavailable(f"{peer.ae_title} accepts no association for C-FIND")
    try:
        answers = list(association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind))
    except (RuntimeError, ValueError) as error:  # the context was rejected, or the association is gone
        raise Unavailable(f"{peer.ae_title} does not serve C-FIND") from error
    finally:
        association.release()
    if not answers or answers[-1][0].get("Status") != _SUCCESS:
        raise Unavailable(f"{peer.ae_title} does not answer C-FIND with success")
    return [
        whole_number(found, "NumberOfStudyRelatedInstances")
        for status, found in answers
        if status.get("Status") in _PENDING and found is not None
    ]


def peer_to_ask(settings: Settings, senders: Collection[Sender]) -> Peer | None:
    """The peer that knows how many instances a study has: ``count_peer``, or a sender with ``count``."""
    by_title = {peer.ae_title.strip(): peer for peer in reversed(settings.peer) if peer.port is not None}
    title = settings.assembly.count_peer.strip()
    if title:
        return by_title.get(title)
    asked = (by_title.get(sender.strip()) for sender, _ in sorted(senders))
    return next((peer for peer in asked if peer is not None and peer.count), None)


@dataclass(slots=True)
class _Count:
    """What is known of one study."""

    questions: int = 0
    next_at: float = 0.0  # monotonic
    count: int | None = None
    version: str = ""  # of the study when it was asked about


class Counts:
    """Counts of open studies; asking never holds up whoever wants to know one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._studies: dict[int, _Count] = {}
        self._questions: Queue[tuple[_Count, str, Peer, str]] = Queue(_WAITING)
        self._thread: threading.Thread | None = None

    def of(self, study: StudyFacts, version: str, quiet_s: float) -> int | None:
        """The count that was given since the newest image came; None: not known, and asked for if due.

        ``version``: of the study's row. Nothing is asked before ``released_quiet_s`` without an image.
        """
        peer = peer_to_ask(self._settings, study.peers)
        if peer is None:
            return None
        rules = self._settings.assembly
        known = self._studies.setdefault(study.id, _Count())
        now = time.monotonic()
        due = quiet_s >= rules.released_quiet_s and now >= known.next_at
        if due and known.questions < rules.count_questions:
            known.questions, known.next_at = known.questions + 1, now + rules.count_every_s
            self._ask(known, version, peer, study.study_instance_uid)
        return known.count if known.version == version else None

    def keep(self, studies: Collection[int]) -> None:
        """Forget all other studies."""
        self._studies = {study: known for study, known in self._studies.items() if study in studies}

    def _ask(self, known: _Count, version: str, peer: Peer, study_instance_uid: str) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._answer, name="count", daemon=True)
            self._thread.start()
        try:
            self._questions.put_nowait((known, version, peer, study_instance_uid))
        except Full:
            known.questions -= 1

    def _answer(self) -> None:
        while True:
            try:
                known, version, peer, uid = self._questions.get(timeout=60.0)
            except Empty:
                continue
            try:
                count = ask(self._settings, peer, uid)
            except Unavailable as error:
                log.warning("count_unknown", peer=peer.ae_title, why=str(error))
                continue
            except Exception:
                log.exception("count_failed", peer=peer.ae_title)
                continue
            known.count, known.version = count, version
