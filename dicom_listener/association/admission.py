"""Accepts or rejects associations: by peer, and within the limit of associations (PS3.8 9.3.4)."""

import threading
from collections import Counter

import structlog
from pynetdicom import evt
from pynetdicom.association import Association

from dicom_listener.association.peers import (
    CALLED_UNREADABLE,
    CALLING_UNREADABLE,
    LIMIT_EXCEEDED,
    NO_REASON,
    PERMANENT,
    SHARE_EXCEEDED,
    Rejection,
    sender,
)
from dicom_listener.association.shares import Shares
from dicom_listener.association.transport import request_of
from neurotriage.core.settings import Peer, Settings, config_file

log = structlog.get_logger()


class Admission:
    """Decides on each A-ASSOCIATE-RQ and keeps count of the associations accepted. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shares = Shares(settings.listener.max_associations, settings.peer)
        self._lock = threading.Lock()
        self._admitted: dict[Association, Peer] = {}
        self._configured_ns = _configured_ns()

    def decide(self, event: evt.Event) -> None:
        """Accept or reject an A-ASSOCIATE-RQ (EVT_REQUESTED). An error of ours rejects it, then is raised.

        pynetdicom would accept the association after an exception here.
        """
        rejection: Rejection | None = NO_REASON
        try:
            if event.assoc.is_aborted:  # the peer closed the connection first
                event.assoc.kill()
                rejection = None
            else:
                rejection = self._rejection(event.assoc)
        finally:
            if rejection is not None:
                self._reject(event.assoc, rejection)

    def _rejection(self, acceptor: Association) -> Rejection | None:
        request = request_of(acceptor)
        if request is None:
            return NO_REASON
        if not request.calling.usable:
            return CALLING_UNREADABLE
        if not request.called.usable:
            return CALLED_UNREADABLE
        peer = sender(
            self._settings,
            calling=request.calling.text,
            called=request.called.text,
            host=acceptor.requestor.address,
        )
        return peer if isinstance(peer, Rejection) else self._admit(acceptor, peer)

    def _admit(self, acceptor: Association, peer: Peer) -> Rejection | None:
        """Count associations, not connections: a connection without a request takes no place."""
        with self._lock:
            self._admitted = {other: owner for other, owner in self._admitted.items() if _holds_place(other)}
            if len(self._admitted) >= self._shares.places:
                return LIMIT_EXCEEDED
            if not self._shares.admits(peer, Counter(self._admitted.values())):
                return SHARE_EXCEEDED
            self._admitted[acceptor] = peer
            return None

    def _reject(self, acceptor: Association, rejection: Rejection) -> None:
        request = request_of(acceptor)
        log.warning(
            "association_rejected",
            peer_host=acceptor.requestor.address,
            calling_ae_title=request.calling.text if request else "",
            called_ae_title=request.called.text if request else "",
            reason=rejection.why + self._restart_hint(rejection),
        )
        acceptor.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
        acceptor.kill()

    def _restart_hint(self, rejection: Rejection) -> str:
        """An admin may look at a configuration file that is newer than the one in use."""
        if rejection.result == PERMANENT and _configured_ns() != self._configured_ns:
            return "; the configuration file was changed after this listener started: start it anew"
        return ""


def _holds_place(acceptor: Association) -> bool:
    """A place is free from the release on, though the association's thread ends a moment later."""
    return acceptor.is_alive() and not (acceptor.is_released or acceptor.is_aborted)


def _configured_ns() -> int:
    """When the configuration file was changed last; 0 where there is none."""
    try:
        return config_file().stat().st_mtime_ns
    except OSError:
        return 0
