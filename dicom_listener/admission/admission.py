"""Accepts or rejects associations: by peer, within its limits, and within that of all (PS3.8 9.3.4)."""

from collections import Counter
from collections.abc import Callable, Hashable

from dicom_listener.admission.peers import (
    ADDRESS_UNKNOWN,
    CALLED_UNREADABLE,
    CALLING_UNREADABLE,
    LIMIT_EXCEEDED,
    PEER_LIMIT_EXCEEDED,
    PERMANENT,
    QUOTA_EXCEEDED,
    SHARE_EXCEEDED,
    TITLE_UNKNOWN,
    ListedHosts,
    Rejection,
    sender,
)
from dicom_listener.admission.quotas import Quotas
from dicom_listener.admission.shares import Shares
from dicom_listener.admission.tls import PeerCertificate
from dicom_listener.association.request import Request
from neurotriage.core.settings import Peer, Settings, config_file
from neurotriage.dicom.addresses import Address, has_address, is_name


class Admission:
    """Decides on each A-ASSOCIATE-RQ and keeps count of the associations accepted."""

    def __init__(self, settings: Settings, quotas: Quotas, hosts: ListedHosts) -> None:
        self._settings, self._quotas, self._hosts = settings, quotas, hosts
        self._shares: Shares[Peer] = Shares(settings.listener.max_associations, settings.peer)
        self._admitted: dict[Hashable, Peer] = {}
        self._configured_ns = _configured_ns()

    def known_peer(
        self, request: Request, host: str, certificate: PeerCertificate | None
    ) -> Peer | Rejection | None:
        """Who requests an association, by the addresses that are known; None: a name must be looked up."""
        judged = self._judged(request, host, certificate, self._hosts.has)
        named = any(is_name(peer.host) for peer in self._titled(request) if peer.host)
        may_change = isinstance(judged, Rejection) and judged in (ADDRESS_UNKNOWN, TITLE_UNKNOWN)
        return None if may_change and named else judged

    def looked_up_peer(
        self, request: Request, host: str, certificate: PeerCertificate | None
    ) -> Peer | Rejection:
        """The same, with the names of peers of this title resolved anew: takes seconds; thread-safe."""
        names = {peer.host for peer in self._titled(request)}

        def is_at(name: str, address: Address) -> bool:
            return has_address(name, address) if name in names else self._hosts.has(name, address)

        return self._judged(request, host, certificate, is_at)

    def _titled(self, request: Request) -> list[Peer]:
        return [peer for peer in self._settings.peer if peer.ae_title.strip() == request.calling.text]

    def _judged(
        self,
        request: Request,
        host: str,
        certificate: PeerCertificate | None,
        is_at: Callable[[str, Address], bool],
    ) -> Peer | Rejection:
        if not request.calling.usable:
            return CALLING_UNREADABLE
        if not request.called.usable:
            return CALLED_UNREADABLE
        return sender(
            self._settings,
            calling=request.calling.text,
            called=request.called.text,
            host=host,
            certificate=certificate,
            is_at=is_at,
        )

    def admit(self, association: Hashable, peer: Peer) -> Rejection | None:
        """Take a place for an association of ``peer``; else why it must be rejected."""
        held = Counter(self._admitted.values())
        if peer.max_associations is not None and held[peer] >= peer.max_associations:
            return PEER_LIMIT_EXCEEDED
        if self._quotas.is_exceeded(peer):
            return QUOTA_EXCEEDED
        if len(self._admitted) >= self._shares.places:
            return LIMIT_EXCEEDED
        if not self._shares.admits(peer, held):
            return SHARE_EXCEEDED
        self._admitted[association] = peer
        return None

    def leave(self, association: Hashable) -> None:
        """Give the place of an association back; harmless where it has none."""
        self._admitted.pop(association, None)

    def explained(self, rejection: Rejection) -> str:
        """The reason for the log. An admin may look at a configuration file newer than the one in use."""
        if rejection.result == PERMANENT and _configured_ns() != self._configured_ns:
            hint = "; the configuration file was changed after this listener started: start it anew"
            return rejection.why + hint
        return rejection.why


def _configured_ns() -> int:
    """When the configuration file was changed last; 0 where there is none."""
    try:
        return config_file().stat().st_mtime_ns
    except OSError:
        return 0
