"""Sections 6 to 8: configuration, network, security."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel
from pydicom.uid import UID
from pynetdicom._globals import DEFAULT_MAX_LENGTH

from dicom_listener.association.contexts import supported_contexts
from dicom_listener.association.negotiation import MAX_PDU_BYTES
from dicom_listener.association.upper_layer import PDU_DEADLINE_S, PROGRESS_BYTES, REQUEST_DEADLINE_S
from neurotriage.conformance.created import Created
from neurotriage.conformance.markdown import table
from neurotriage.conformance.network import (
    ACTION_ANSWERS,
    ANSWERS,
    REPORT_ANSWERS,
    Offer,
    is_commitment,
    offers,
    rejections,
    store_statuses,
)
from neurotriage.core.settings import Destination, Settings
from neurotriage.dicom.sop_classes import sop_class_name
from neurotriage.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from worker.delivery.dimse import requested_contexts

_NAMES = ("listener", "assembly", "delivery", "results")


def configuration(settings: Settings) -> str:
    """Section 6: the parameters that affect what is exchanged, with their current values."""
    header = ("parameter", "value", "meaning")
    sections = [
        f"### 6.{number} `[{name}]`\n\n{table(header, _parameters(settings, name))}"
        for number, name in enumerate(_NAMES, start=1)
    ]
    peers = [(peer.ae_title, peer.host, peer.port or "-") for peer in settings.peer]
    receivers = [
        (d.name, d.type, d.ae_title or "-", d.url or f"{d.host}:{d.port}", ", ".join(sorted(d.kinds)))
        for d in settings.destination
    ]
    return "\n\n".join(
        [
            *sections,
            "### 6.5 Peers (who may send)\n\n"
            + (table(("AE title", "host", "port"), peers) if peers else "None."),
            "### 6.6 Destinations\n\n"
            + (
                table(("name", "type", "AE title", "address", "objects"), receivers) if receivers else "None."
            ),
        ]
    )


def _parameters(settings: Settings, name: str) -> Iterable[Sequence[object]]:
    section: BaseModel = getattr(settings, name)
    for field, described in type(section).model_fields.items():
        value = getattr(section, field)
        if not isinstance(value, BaseModel):
            yield (
                f"`{field}`",
                "-" if value in ((), None) else value,
                described.description or "",
            )


def network(settings: Settings, created: Sequence[Created]) -> str:
    """Section 7: associations, presentation contexts and statuses."""
    listener = settings.listener
    return f"""### 7.1 General

#### 7.1.1 General association parameters

{table(("parameter", "value"), _association(settings))}

### 7.2 Application Entity `{listener.ae_title}`

#### 7.2.1 Sequencing of real-world activities

A study may come in any number of associations, in parallel and in any order. Results are sent when the study
was analysed; a request for storage commitment follows the last object.

#### 7.2.2 Association parameters

As acceptor {listener.max_associations} associations at once; further ones are rejected as transient. Where
there are several peers, half of these are kept for them in equal shares: no peer can hold all. As initiator
one association at a time per destination.

#### 7.2.3 Association initiation

An association is opened to a destination when at least one object waits for it, and is released when all of a
study's objects were offered.

{_proposed(settings, created)}

#### 7.2.4 Association acceptance

An association is accepted from a peer of section 6.5: the pair of address and calling AE title must be known,
and the called AE title must be ours. Without any peer, only this host may associate, and only while the
listener is bound to a loopback address. Padding of AE titles and UIDs with NUL or blanks is not part of them.
An AE title that is empty or not made of printable ASCII is rejected; a UID of more than 64 characters refuses
its presentation context, or in a C-STORE-RQ its object. Of the transfer syntaxes in one context, the first of
the list below is taken.

{_accepted(settings)}

### 7.3 Status codes

#### 7.3.1 A-ASSOCIATE-RJ that the listener sends

{table(("result", "source", "diagnostic", "when"), rejections())}

#### 7.3.2 C-STORE as SCP

{_answers(ANSWERS)}

#### 7.3.3 N-EVENT-REPORT as SCU of Storage Commitment

{_answers(REPORT_ANSWERS)}

#### 7.3.4 N-ACTION as SCP of Storage Commitment

{_answers(ACTION_ANSWERS)}

#### 7.3.5 C-STORE as SCU

{table(("status", "read as", "then"), store_statuses())}

No answer within the timeout: tried again later. An association that ends early: at once in a new one as long
as each stores an object, else later."""


def _answers(answers: Sequence[tuple[int, str, str]]) -> str:
    rows = [(f"0x{code:04X}", meaning, when) for code, meaning, when in answers]
    return table(("status", "meaning", "when"), rows)


def _association(settings: Settings) -> list[tuple[str, str]]:
    return [
        ("Application Context Name", "1.2.840.10008.3.1.1.1"),
        ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
        ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
        ("Maximum PDU received, as acceptor", f"{MAX_PDU_BYTES} bytes"),
        ("Maximum PDU received, as initiator", f"{DEFAULT_MAX_LENGTH} bytes"),
        ("Asynchronous operations", "not supported: one operation at a time"),
        ("Extended negotiation, user identity", "not supported"),
        ("Time for an association request after the connection", f"{REQUEST_DEADLINE_S:g} s"),
        ("Time for a PDU once begun", f"{PDU_DEADLINE_S:g} s"),
        ("Idle association closed after", f"{settings.listener.network_timeout_s:g} s"),
        (
            "Association without progress closed after",
            f"{settings.listener.progress_timeout_s:g} s without a data set or {PROGRESS_BYTES} bytes of one",
        ),
        ("IP", "version 4 and version 6"),
    ]


def _proposed(settings: Settings, created: Sequence[Created]) -> str:
    """The contexts proposed to every DIMSE destination, or to a usual one if none is configured."""
    usual = Destination(name="any destination", ae_title="ANY", host="any", port=104)
    receivers = [d for d in settings.destination if d.type == "dimse"]
    return "\n\n".join(
        _proposal(receiver.name, receiver, [c for c in created if c.kind in receiver.kinds])
        for receiver in receivers
    ) or _proposal("any destination, if all kinds of object are asked for", usual, created)


def _proposal(title: str, destination: Destination, created: Sequence[Created]) -> str:
    proposed: dict[UID, list[str]] = {}
    for context in requested_contexts(destination, {str(kind.sop_class) for kind in created}):
        syntaxes = " or ".join(UID(syntax).name for syntax in context.transfer_syntax)
        proposed.setdefault(UID(str(context.abstract_syntax)), []).append(syntaxes)
    rows = [
        (sop_class_name(uid), f"`{uid}`", "; ".join(syntaxes), "SCU") for uid, syntaxes in proposed.items()
    ]
    header = ("SOP Class", "UID", "transfer syntaxes (; divides contexts)", "role")
    return f"To {title}:\n\n{table(header, rows)}"


def _accepted(settings: Settings) -> str:
    commits = settings.listener.storage_commitment
    return "\n\n".join(_offer(offer, commits) for offer in offers(supported_contexts(commits=commits)))


def _offer(offer: Offer, commits: bool) -> str:
    classes = [(sop_class_name(uid), f"`{uid}`", _role(uid, commits)) for uid in offer.abstract_syntaxes]
    syntaxes = [(uid.name, f"`{uid}`") for uid in offer.transfer_syntaxes]
    return (
        f"{table(('SOP Class', 'UID', 'role'), classes)}\n\n"
        f"each in:\n\n{table(('transfer syntax', 'UID'), syntaxes)}"
    )


def _role(uid: UID, commits: bool) -> str:
    if not is_commitment(uid):
        return "SCP"
    return "SCU, SCP" if commits else "SCU"


def security(settings: Settings) -> str:
    """Section 8: ports, profiles and accepted peers."""
    listener = settings.listener
    ports = ", ".join(f"{port.host}:{port.port}" for port in listener.ports)
    return f"""### 8.1 TCP ports

Listener: {ports}. STOW-RS: {_web(settings)}. Outbound: the addresses of sections 6.5 and 6.6.

### 8.2 DICOM security profiles

{_transport(settings)} No profile for digital signatures, media or attribute confidentiality is supported.

### 8.3 Association level

Peers are known by AE title and address, certificate or both (section 7.2.4). At most
{listener.max_associations} associations are served at once. Every wait on the network has an end
(section 7.1.1), and a PDU longer than announced ends the association.

### 8.4 User identity negotiation

Not supported, neither as initiator nor as acceptor.

### 8.5 Application level

Logs hold UIDs and database ids, never names, patient ids or birth dates. No identity is drawn into pixels."""


def _web(settings: Settings) -> str:
    return "none" if settings.stow is None else f"{settings.stow.host}:{settings.stow.port}"


def _web_transport(settings: Settings) -> str:
    secured = settings.stow is not None and settings.stow.tls is not None
    return f"TLS 1.2 or newer where it is configured (here: {'yes' if secured else 'no'})"


def _transport(settings: Settings) -> str:
    secured = [d.name for d in settings.destination if d.tls is not None or d.url.startswith("https")]
    names = f" (here: {', '.join(secured)})" if secured else " (here: none)"
    return (
        "Sending: TLS 1.2 or newer per destination, with a check of the peer's certificate and name and, "
        f"where configured, a client certificate (BCP 195){names}. Receiving: {_receiving(settings)}"
    )


def _receiving(settings: Settings) -> str:
    """The protection of each listening port."""
    ports = settings.listener.ports
    secured = [f"{port.host}:{port.port}" for port in ports if port.tls is not None]
    return (
        "TLS 1.2 or 1.3 (PS3.15 B.12, BCP 195 RFC 8996, 9325) on each port with `[listener.tls]`, by default "
        f"with a certificate of the peer (here: {', '.join(secured) or 'none'}). A port without TLS that "
        "others can reach takes only the networks that the site has named. "
        f"By STOW-RS: {_web_transport(settings)}, and a bearer token or a client certificate of each peer."
    )
