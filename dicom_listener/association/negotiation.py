"""Negotiates an association as its acceptor (PS3.8 7.1, PS3.7 annex D.3) with pynetdicom's rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from pydicom.uid import UID
from pynetdicom._globals import APPLICATION_CONTEXT_NAME
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from dicom_listener.association.request import Request
from neurotriage.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# Our maximum length of a P-DATA-TF (PS3.8 D.1): that of DCMTK, which sends no longer ones.
MAX_PDU_BYTES: Final = 131_072


class Unreadable(Exception):
    """An A-ASSOCIATE-RQ that cannot be decoded; the message names the type of error."""


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """SOP class and transfer syntax of an accepted presentation context."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The A-ASSOCIATE-AC, the accepted contexts by their ID, and the rejected ones as they were proposed."""

    pdu: bytes
    accepted: Mapping[int, AcceptedContext]
    rejected: Sequence[tuple[str, Sequence[str]]]  # SOP class, transfer syntaxes


def negotiate(
    request: Request, supported: list[PresentationContext], needs_role: frozenset[str] = frozenset()
) -> Negotiated:
    """Answer a repaired request. Raises ``Unreadable`` where pynetdicom cannot decode it.

    ``needs_role``: SOP classes that are rejected where the request selects no role for them.
    """
    try:
        decoded = A_ASSOCIATE_RQ()
        decoded.decode(request.pdu)
        proposal = decoded.to_primitive()
        roles = _roles(proposal)
        offered = [c for c in supported if c.abstract_syntax not in needs_role or c.abstract_syntax in roles]
        contexts, role_answers = negotiate_as_acceptor(
            proposal.presentation_context_definition_list, offered, roles
        )
        pdu = A_ASSOCIATE_AC(_answer(proposal, contexts, role_answers)).encode()
    except Exception as error:  # pynetdicom raises whatever the bytes of the peer lead it to
        raise Unreadable(type(error).__name__) from error
    proposed = {c.context_id: c for c in proposal.presentation_context_definition_list}
    accepted = {
        cast(int, c.context_id): AcceptedContext(str(c.abstract_syntax), str(c.transfer_syntax[0]))
        for c in contexts
        if c.result == 0
    }
    rejected = [
        (
            request.abstract_syntaxes.get(cast(int, c.context_id), str(c.abstract_syntax)),
            [str(syntax) for syntax in proposed[c.context_id].transfer_syntax],
        )
        for c in contexts
        if c.result != 0
    ]
    return Negotiated(pdu, accepted, rejected)


def _roles(proposal: A_ASSOCIATE) -> dict[UID, tuple[bool | None, bool | None]]:
    return {
        cast(UID, item.sop_class_uid): (bool(item.scu_role), bool(item.scp_role))
        for item in proposal.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
    }


def _answer(
    proposal: A_ASSOCIATE,
    contexts: list[PresentationContext],
    roles: list[SCP_SCU_RoleSelectionNegotiation],
) -> A_ASSOCIATE:
    """The A-ASSOCIATE (accept) primitive (PS3.8 table 7-3). Asynchronous operations are not offered."""
    length = MaximumLengthNotification()
    length.maximum_length_received = MAX_PDU_BYTES
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    answer = A_ASSOCIATE()
    answer.application_context_name = UID(APPLICATION_CONTEXT_NAME)
    answer.calling_ae_title = proposal.calling_ae_title
    answer.called_ae_title = proposal.called_ae_title
    answer.result, answer.result_source = 0x00, 0x01
    answer.presentation_context_definition_results_list = contexts
    answer.user_information = [length, class_uid, version, *roles]
    return answer
