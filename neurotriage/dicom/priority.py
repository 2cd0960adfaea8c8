"""The priority class of a study by one of its instances: who sent it, what its header says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from neurotriage.core.priority import Basis, Judgement, Priority
from neurotriage.core.reception import IMPORT_AE_TITLE, Reception
from neurotriage.core.settings import Peer, Settings
from neurotriage.dicom.addresses import address_of_socket, has_address, is_name
from neurotriage.dicom.headers import InstanceHeader


@dataclass(frozen=True, slots=True)
class PriorityRules:
    """The configured evidence. Texts are compared without regard to case and repeated blanks."""

    peers: tuple[Peer, ...] = ()
    requested: frozenset[str] = frozenset()
    locations: frozenset[str] = frozenset()
    location_prefixes: tuple[str, ...] = ()
    called: Mapping[str, Priority] = field(default_factory=dict)  # by AE title of ours

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The rules of ``[priority]`` and of the marks in ``[[peer]]`` and ``[[listener.called]]``."""
        listed = settings.priority
        return cls(
            settings.peer,
            frozenset(map(_plain, listed.requested)),
            frozenset(map(_plain, listed.locations)),
            tuple(map(_plain, listed.location_prefixes)),
            {t.ae_title.strip(): t.priority for t in settings.listener.called if t.priority is not None},
        )

    def judge(self, header: InstanceHeader, reception: Reception) -> Judgement:
        """The class by one instance: by the title of ours that was called, the peer, the header.

        Headers come last, as an archive that sends old studies sends their old STAT, too; so does a folder
        of files, which is backlog unless a ``[[peer]]`` of its title is marked otherwise.
        """
        called = self.called.get(reception.called_ae_title)
        if called is not None:
            return Judgement(called, Basis.CALLED, f"[[listener.called]] {reception.called_ae_title}")
        marked = peer_priority(self.peers, reception.peer_ae_title, reception.peer_host)
        if marked is not None:
            return Judgement(marked, Basis.PEER, f"[[peer]] {reception.peer_ae_title}")
        if reception.peer_ae_title == IMPORT_AE_TITLE:
            return Judgement(Priority.BACKLOG, Basis.PEER, "neurotriage import")
        for name, value in _requests(header):
            if any(_plain(part) in self.requested for part in value.split("\\")):
                return Judgement(Priority.URGENT, Basis.REQUEST, f"{name} = {value}")
        for name, value in _places(header):
            place = _plain(value)
            if place and (place in self.locations or place.startswith(self.location_prefixes)):
                return Judgement(Priority.URGENT, Basis.LOCATION, f"{name} = {value}")
        return Judgement(Priority.ROUTINE, Basis.NOTHING)


NO_RULES: Final = PriorityRules()


def peer_priority(peers: Iterable[Peer], ae_title: str, host: str) -> Priority | None:
    """The mark of the ``[[peer]]`` that sent something; None where it has none. Resolves no names.

    The listener has admitted it, so only peers of its title are left to tell apart: those with its address
    come first, then those with a name, then the others: a certificate or a token may have stood for them
    wherever they are. Of several marks the most urgent counts.
    """
    titled = [peer for peer in peers if peer.ae_title.strip() == ae_title.strip()]
    near = [peer for peer in titled if not is_name(peer.host) and _is_at(peer, host)]
    senders = near or [peer for peer in titled if is_name(peer.host)] or titled
    marks = [peer.priority for peer in senders if peer.priority is not None]
    return min(marks, key=lambda mark: mark.rank, default=None)


def _is_at(peer: Peer, host: str) -> bool:
    try:
        return has_address(peer.host, address_of_socket(host))
    except ValueError:  # it did not come over a network
        return False


def _requests(header: InstanceHeader) -> tuple[tuple[str, str], ...]:
    return (
        ("(0040,1003) Requested Procedure Priority", header.requested_priority),
        ("(0032,000C) Study Priority ID", header.study_priority),
    )


def _places(header: InstanceHeader) -> tuple[tuple[str, str], ...]:
    return (
        ("(0038,0300) Current Patient Location", header.patient_location),
        ("(0032,1033) Requesting Service", header.requesting_service),
        ("(0008,1040) Institutional Department Name", header.department),
    )


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
