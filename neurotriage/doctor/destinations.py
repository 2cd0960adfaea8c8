"""Checks of a destination: does it answer, does it know us, what does it accept, can it be queried?"""

import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.uid import UID

from db.delivery.deliveries import DueDelivery
from dicom_listener.admission.peers import rejection
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
    """Echo, negotiation and query; with ``store``, also store a test study and query for it."""
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
                advice = "Correct what this sentence names, here or there; check firewalls between."
                yield failed("reached", str(error), advice)


def _no_receiver(settings: Settings) -> Check:
    if any(peer.port for peer in settings.peer):
        said = "each [[peer]] with a port is a network, so its hosts are not known before they send"
        return warning("address", said, "To check one of its hosts, add it as a [[peer]] of its own.")
    advice = "Give each [[peer]] that gets results back its port."
    return failed("address", "no [[peer]] has a port to which results can be sent back", advice)


def _receivers(settings: Settings, destination: Destination) -> list[Destination]:
    """The destination itself; with ``to_sender``, every peer to which results can go."""
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
        return [cls._written(folder, study_uid, number, result) for number, result in enumerate(results)]

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
            yield warning(
                "echo", f"{where} accepts the association, but no C-ECHO", "Allow Verification there."
            )
        yield from _taken(peer, trials, ours)
        yield _way_back(settings, receiver)
        yield from _proof(peer, receiver, trials)
    if store:  # on an association of its own, as a query without an answer ends the one before
        with dimse.connect(receiver, ours, classes) as peer:
            yield from _store(peer, trials)


def _look_at_web(
    settings: Settings, receiver: Destination, trials: Sequence[_Trial], store: bool
) -> Iterator[Check]:
    with dicomweb.connect(receiver, settings.listener.ae_title, ()) as peer:
        query = _query(peer, trials)
        if receiver.find == "off":
            yield ok("query", 'no query is made (find = "off")')
        elif query.answered:
            yield ok("query", f"{receiver.url} answers")
        else:
            yield warning("query", f"{receiver.url}: {query.said}", _WITHOUT_QUERY)
        if store:
            yield from _store(peer, trials)


def _taken(peer: DimseClient, trials: Sequence[_Trial], ours: str) -> Iterator[Check]:
    """For each kind of object, the transfer syntaxes in which it is accepted."""
    kinds = {trial.kind: UID(trial.delivery.sop_class_uid) for trial in trials}
    refused = [kind for kind, sop_class in kinds.items() if not peer.syntaxes(sop_class)]
    for kind, sop_class in kinds.items():
        if kind not in refused:
            names = ", ".join(UID(syntax).name for syntax in peer.syntaxes(sop_class))
            yield ok(kind, f"accepted as {names}")
            continue
        name, why = sop_class_name(sop_class), peer.refusal(sop_class)
        advice = f"Allow {ours} to store {name} ({sop_class}) there, or leave it out of objects."
        severity = warning if len(refused) < len(kinds) else failed
        yield severity(kind, f"{name} is refused: {why}", advice)


@dataclass(frozen=True, slots=True)
class _Query:
    """The answer to a query for an object that cannot be there."""

    answered: bool
    said: str


def _query(peer: ArchiveClient, trials: Sequence[_Trial]) -> _Query:
    """Make one real query, for a study that no archive has."""
    try:
        present = peer.present([trial.delivery for trial in trials[:1]])
    except (NotServed, Unanswered) as error:
        return _Query(False, str(error))
    if present:
        return _Query(False, "the query returned an object that was never sent")
    return _Query(True, "")


_WITHOUT_QUERY: Final = (
    'Allow the query there, or set find = "off" for this destination: then storage '
    "commitment, if it is offered, is the only proof."
)


def _proof(peer: DimseClient, receiver: Destination, trials: Sequence[_Trial]) -> Iterator[Check]:
    """The proofs that stored objects are kept; if queries are accepted, one is made."""
    commits = ["storage commitment"] if receiver.commitment == "auto" and peer.commits else []
    query = _query(peer, trials) if peer.answers_queries else None
    if query is not None and not query.answered:
        yield warning("query", f"queries are accepted, but {query.said}", _WITHOUT_QUERY)
    proofs = [*commits, *(["query"] if query is not None and query.answered else [])]
    if proofs:
        yield ok("proof", f"by {' or '.join(proofs)}")
    elif (receiver.commitment, receiver.find) == ("off", "off"):
        yield ok("proof", "no proof is requested")
    else:
        advice = (
            "Allow storage commitment or Study Root C-FIND there; else 0x0000 is the only sign of success."
        )
        yield warning("proof", "neither storage commitment nor a query works", advice)


def _way_back(settings: Settings, receiver: Destination) -> Check:
    """Whether our listener accepts the destination: for its C-ECHO and its commitment reports."""
    try:
        host = socket.gethostbyname(receiver.host)
    except OSError:
        host = ""
    ours = settings.listener.ae_title.strip()
    known = host and rejection(settings, calling=receiver.ae_title.strip(), called=ours, host=host) is None
    if known:
        return ok("way back", f"{receiver.ae_title} may associate with our listener")
    advice = f"Add a [[peer]] {receiver.ae_title} if it is to send us a C-ECHO, images or commitment reports."
    return warning("way back", f"our listener would reject {receiver.ae_title}", advice)


def _store(peer: ArchiveClient, trials: Sequence[_Trial]) -> Iterator[Check]:
    """Send all objects, then query for all that were accepted, kind by kind."""
    accepted = []
    for trial in trials:
        verdict = peer.store(trial.path, trial.delivery)
        if verdict.state is DeliveryState.STORED:
            accepted.append(trial)
        else:
            said = f'{verdict.text}; it says "{verdict.comment}"' if verdict.comment else verdict.text
            yield failed(f"store {trial.kind}", said, "See the log of the destination.")
    if not accepted:
        return
    yield ok("store", f"{len(accepted)} of {len(trials)} objects, patient ID {PATIENT_ID}; delete them there")
    try:
        present = _present(peer, accepted)
    except (NotServed, Unanswered) as error:
        yield warning("shown back", str(error), "Look for the study in a viewer.")
        return
    for kind in dict.fromkeys(trial.kind for trial in accepted):
        uids = {trial.delivery.sop_instance_uid for trial in accepted if trial.kind is kind}
        if uids <= present:
            yield ok(f"shown back {kind}", f"{len(uids)} found by query")
        else:
            said = f"{len(uids - present)} of {len(uids)} were accepted, but a query does not find them"
            yield failed(f"shown back {kind}", said, "See the log of the destination, and its quarantine.")


def _present(peer: ArchiveClient, accepted: Sequence[_Trial]) -> frozenset[str]:
    """The UIDs that a query finds, once all are found or the archive has had time to index them.

    Raises ``NotServed`` or ``Unanswered`` as ``ArchiveClient.present`` does.
    """
    wanted = {trial.delivery.sop_instance_uid for trial in accepted}
    deadline = time.monotonic() + _FOUND_WITHIN_S
    while True:
        present = peer.present([trial.delivery for trial in accepted])
        if wanted <= present or time.monotonic() > deadline:
            return present
        time.sleep(_LOOK_EVERY_S)
