"""Checks of the peers that may ask us for storage commitment: each has an address and takes reports there."""

from collections.abc import Iterator

from dicom_listener.commitment.report import association_with
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Peer, Settings
from neurotriage.doctor.check import Check, ok, warning


def look_at_commitment(settings: Settings) -> Iterator[Check]:
    """One line per peer; nothing is reported."""
    if not settings.peer:
        yield warning(
            "storage commitment",
            "there is no [[peer]]: nobody may ask for it",
            "Enter those that may, each with host and port.",
        )
    for peer in settings.peer:
        yield _peer(settings, peer)


def _peer(settings: Settings, peer: Peer) -> Check:
    if peer.port is None or not peer.host:
        missing = "port" if peer.host else "host"
        return warning(
            peer.ae_title,
            f"may not ask for storage commitment: its [[peer]] has no {missing} to which to report",
            f"Add the {missing} at which it takes N-EVENT-REPORT, if it is to ask.",
        )
    if "/" in peer.host:
        return ok(peer.ae_title, f"is told at port {peer.port} of the address from which it asks")
    place = f"{peer.host}:{peer.port}"
    try:
        with association_with(peer, peer.host, settings.listener.ae_title):
            return ok(peer.ae_title, f"takes reports of storage commitment at {place}")
    except Unavailable as error:
        return warning(
            peer.ae_title,
            f"{error} ({place})",
            "Have it take the Storage Commitment Push Model from our AE title, as its SCU; until then, it is "
            "not told what we committed.",
        )
