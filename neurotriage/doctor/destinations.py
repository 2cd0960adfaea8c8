"""A destination: does it answer, does it know us, what does it take, and does it show that back?"""

import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.uid import UID

from db.deliveries import DueDelivery
from dicom_listener.association.peers import rejection
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Destination, Settings
from neurotriage.core.states import DeliveryState
from neurotriage.core.values import NoteKind, ResultKind, ResultObject
from neurotriage.dicom.sop_classes import sop_class_name
from neurotriage.doctor.check import Check, failed, ok, warning
from neurotriage.doctor.trial import PATIENT_ID, trial_objects
from worker.delivery import dicomweb, dimse
from worker.delivery.client import ArchiveClient, NotServed, Unanswered
from worker.delivery.dimse_client import DimseClient

# An archive may index what it stored a moment later.
_FOUND_WITHIN_S: Final = 10.0
_LOOK_EVERY_S: Final = 1.0


def look_at_destination(settings: Settings, destination: Destination, *, store: bool) -> Iterator[Check]:
    """Echo and negotiation; with ``store`` a test study there and back, else nothing is written."""
    receivers = _receivers(settings, destination)
    if not receivers:
        yield _no_receiver(settings)
        return
    with tempfile.TemporaryDirectory() as folder:
        objects = _Trial.made(Path(folder), destination, settings)
        for receiver in receivers:
            try:
                look = _look_at_web if receiver.type == "dicomweb" else _look_at_dimse
                yield from look(settings, receiver, objects, store)
            except Unavailable as error:
                advice = "Correct what the sentence names, here or there; see a firewall between."
                yield failed("reached", str(error), advice)


def _no_receiver(settings: Settings) -> Check:
    if any(peer.port for peer in settings.peer):
        said = "each [[peer]] with a port is a network: its hosts are known when they send"
        return warning("address", said, "Name one host of it as a [[peer]] of its own to have it tried.")
    advice = "Give each [[peer]] that gets results back its port."
    return failed("address", "no [[peer]] has a port to which results can be sent back", advice)


def _receivers(settings: Settings, destination: Destination) -> list[Destination]:
    """The destination itself; of one that is the sender, every peer that can be one."""
    if not destination.to_sender:
        return [destination]
    return [
        destination.model_copy(update={"ae_title": peer.ae_title, "host": peer.host, "port": peer.port})
        for peer in settings.peer
        if peer.port and "/" not in peer.host
    ]


@dataclass(frozen=True, slots=True)
class _Trial:
    """An object of the test study, on disk, as the sender knows it."""

    kind: ResultKind | NoteKind
    path: Path
    delivery: DueDelivery

    @classmethod
    def made(cls, folder: Path, destination: Destination, settings: Settings) -> "list[_Trial]":
        study_uid, results = trial_objects(folder, destination.kinds, settings.results.claims)
        return [cls._written(folder, study_uid, number, one) for number, one in enumerate(results)]

    @classmethod
    def _written(cls, folder: Path, study_uid: str, number: int, result: ResultObject) -> "_Trial":
        path = folder / f"result-{number}.dcm"
        path.write_bytes(result.data)
        delivery = DueDelivery(
            id=number,
            study_id=0,
            revision_id=0,
            study_instance_uid=study_uid,
            series_instance_uid=result.series_instance_uid,
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            path=path.name,
            size_bytes=len(result.data),
            attempts=0,
            failures=0,
            proof_tries=0,
            commitment_uid=None,
        )
        return cls(result.kind, path, delivery)


def _look_at_dimse(
    settings: Settings, receiver: Destination, trials: Sequence[_Trial], store: bool
) -> Iterator[Check]:
    ours = settings.listener.ae_title
    classes = {trial.delivery.sop_class_uid for trial in trials}
    where = f"{receiver.ae_title} at {receiver.host}:{receiver.port}"
    with dimse.connect(receiver, ours, [dimse.VERIFICATION, *classes]) as peer:
        if peer.echo():
            yield ok("echo", f"{where} knows us as {ours} and answers")
        else:
            yield warning("echo", f"{where} takes the association and no C-ECHO", "Allow Verification there.")
        yield from _taken(peer, trials, ours)
        yield _way_back(settings, receiver)
        yield from _proof(peer, receiver, trials)
    if store:  # on an association of its own: a query that is not answered costs the one before
        with dimse.connect(receiver, ours, classes) as peer:
            yield from _store(peer, trials)


def _look_at_web(
    settings: Settings, receiver: Destination, trials: Sequence[_Trial], store: bool
) -> Iterator[Check]:
    with dicomweb.connect(receiver, settings.listener.ae_title, ()) as peer:
        query = _query(peer, trials)
        if receiver.find == "off":
            yield ok("query", 'none is made (find = "off")')
        elif query.answered:
            yield ok("query", f"{receiver.url} answers")
        else:
            yield warning("query", f"{receiver.url}: {query.said}", _WITHOUT_QUERY)
        if store:
            yield from _store(peer, trials)


def _taken(peer: DimseClient, trials: Sequence[_Trial], ours: str) -> Iterator[Check]:
    """Each kind of object: in which transfer syntaxes it would be taken."""
    kinds = {trial.kind: UID(trial.delivery.sop_class_uid) for trial in trials}
    refused = [kind for kind, sop_class in kinds.items() if not peer.syntaxes(sop_class)]
    for kind, sop_class in kinds.items():
        if kind not in refused:
            names = ", ".join(UID(syntax).name for syntax in peer.syntaxes(sop_class))
            yield ok(kind, f"taken as {names}")
            continue
        name, why = sop_class_name(sop_class), peer.refusal(sop_class)
        advice = f"Allow {ours} to store {name} ({sop_class}) there, or leave it out of objects."
        told = warning if len(refused) < len(kinds) else failed
        yield told(kind, f"{name} is refused: {why}", advice)


@dataclass(frozen=True, slots=True)
class _Query:
    """What came of a query for objects that cannot be there."""

    answered: bool
    said: str


def _query(peer: ArchiveClient, trials: Sequence[_Trial]) -> _Query:
    """Make one real query, for a study that nobody has."""
    try:
        found = peer.present([trial.delivery for trial in trials[:1]])
    except (NotServed, Unanswered) as error:
        return _Query(False, str(error))
    if found:
        return _Query(False, "the query was answered with objects that are not there")
    return _Query(True, "")


_WITHOUT_QUERY: Final = (
    'Allow the query there, or set find = "off" for this destination: results are not asked for then, and '
    "storage commitment, if there is one, is the only proof."
)


def _proof(peer: DimseClient, receiver: Destination, trials: Sequence[_Trial]) -> Iterator[Check]:
    """How it will be proven that what was sent is kept: a query that is offered is made."""
    commits = ["storage commitment"] if receiver.commitment == "auto" and peer.commits else []
    query = _query(peer, trials) if peer.answers_queries else None
    if query is not None and not query.answered:
        yield warning("query", f"queries are accepted; {query.said}", _WITHOUT_QUERY)
    proofs = [*commits, *(["query"] if query is not None and query.answered else [])]
    if proofs:
        yield ok("proof", f"by {' or '.join(proofs)}")
    elif (receiver.commitment, receiver.find) == ("off", "off"):
        yield ok("proof", "none is asked for")
    else:
        advice = (
            "Allow storage commitment or Study Root C-FIND there; without it, 0x0000 is all that is known."
        )
        yield warning("proof", "there is neither storage commitment nor a query that works", advice)


def _way_back(settings: Settings, receiver: Destination) -> Check:
    """Whether our listener would let the destination in: for its echo and its commitment reports."""
    try:
        host = socket.gethostbyname(receiver.host)
    except OSError:
        host = ""
    ours = settings.listener.ae_title.strip()
    known = host and rejection(settings, calling=receiver.ae_title.strip(), called=ours, host=host) is None
    if known:
        return ok("way back", f"{receiver.ae_title} may associate with our listener")
    advice = (
        f"Add a [[peer]] {receiver.ae_title} if it is to echo us, send to us, or report commitment later."
    )
    return warning("way back", f"our listener would not let {receiver.ae_title} in", advice)


def _store(peer: ArchiveClient, trials: Sequence[_Trial]) -> Iterator[Check]:
    """Send all, then look for all that was taken, kind by kind."""
    taken = []
    for trial in trials:
        verdict = peer.store(trial.path, trial.delivery)
        if verdict.state is DeliveryState.STORED:
            taken.append(trial)
        else:
            told = f'{verdict.text}; it says "{verdict.comment}"' if verdict.comment else verdict.text
            yield failed(f"store {trial.kind}", told, "See the log of the destination.")
    if not taken:
        return
    yield ok("store", f"{len(taken)} of {len(trials)} objects, patient {PATIENT_ID}; delete them there")
    try:
        found = _found(peer, taken)
    except (NotServed, Unanswered) as error:
        yield warning("shown back", str(error), "Look for the study in a viewer.")
        return
    for kind in dict.fromkeys(trial.kind for trial in taken):
        uids = {trial.delivery.sop_instance_uid for trial in taken if trial.kind is kind}
        if uids <= found:
            yield ok(f"shown back {kind}", f"{len(uids)} found by query")
        else:
            said = f"{len(uids - found)} of {len(uids)} were taken and are not found by query"
            yield failed(f"shown back {kind}", said, "See the log of the destination, and its quarantine.")


def _found(peer: ArchiveClient, taken: Sequence[_Trial]) -> frozenset[str]:
    """What a query finds once all is found, or when an archive has had time enough to index it.

    Raises as ``Peer.present``.
    """
    wanted = {trial.delivery.sop_instance_uid for trial in taken}
    deadline = time.monotonic() + _FOUND_WITHIN_S
    while True:
        found = peer.present([trial.delivery for trial in taken])
        if wanted <= found or time.monotonic() > deadline:
            return found
        time.sleep(_LOOK_EVERY_S)
