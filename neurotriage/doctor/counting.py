"""Checks of the peers that are asked how many instances a study has."""

from collections.abc import Iterator

from dicom_listener.assembly.counting import matches
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Peer, Settings
from neurotriage.dicom.uids import DOCTOR_INSTALLATION_UID
from neurotriage.doctor.check import Check, ok, warning


def peers_to_ask(settings: Settings) -> list[Peer]:
    """The peers with ``count``, and the one that ``[assembly] count_peer`` names."""
    named = settings.assembly.count_peer.strip()
    return [peer for peer in settings.peer if peer.count or (named and peer.ae_title.strip() == named)]


def look_at_counts(settings: Settings) -> Iterator[Check]:
    """Whether each answers a C-FIND for a study that nobody has."""
    peers = peers_to_ask(settings)
    named = settings.assembly.count_peer.strip()
    if named and not any(peer.ae_title.strip() == named and peer.port for peer in peers):
        yield warning(
            "count_peer",
            f"no [[peer]] with a port has the AE title {named}: nobody is asked",
            "Add the port to that [[peer]], or correct [assembly] count_peer.",
        )
    for peer in peers:
        if peer.port is None:
            continue
        try:
            matches(settings, peer, DOCTOR_INSTALLATION_UID)
        except Unavailable as error:
            advice = "Let it answer C-FIND (Study Root) to our AE title, or remove `count`: until then, "
            yield warning(peer.ae_title, str(error), f"{advice}studies go by the other evidence.")
        else:
            yield ok(peer.ae_title, f"answers C-FIND at {peer.host}:{peer.port}")
