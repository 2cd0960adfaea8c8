"""Send DICOM instances over a real association, as a modality or a PACS would."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom import AE
from pynetdicom.association import Association

from neurotriage.dicom.requestor import associate

_MAX_CONTEXTS: Final = 128  # of one association (PS3.8 9.3.2.2: odd numbers from 1 to 255)
_SUCCESS: Final = 0x0000
_SHOWN_REFUSALS: Final = 5

Instance = Path | Dataset


class SendingFailed(Exception):
    """There was no association, or it ended early; the message says why."""


@dataclass(frozen=True, slots=True)
class SendReport:
    """Which instances were stored, and why the others were not."""

    stored: tuple[str, ...]  # names, in the order sent
    refused: tuple[tuple[str, str], ...]  # name and reason

    def __str__(self) -> str:
        text = f"{len(self.stored)} of {len(self.stored) + len(self.refused)} instances stored"
        for name, reason in self.refused[:_SHOWN_REFUSALS]:
            text += f"; {name}: {reason}"
        more = len(self.refused) - _SHOWN_REFUSALS
        return f"{text}; and {more} more" if more > 0 else text


def send(
    instances: Sequence[Instance],
    host: str,
    port: int,
    *,
    called: str,
    calling: str = "SENDER",
) -> SendReport:
    """Send files (their bytes unchanged) or datasets in one association.

    One presentation context per SOP class and transfer syntax. An instance that is refused, or is no DICOM,
    stands in the report, and the next one is sent. Raises ``SendingFailed`` where the receiver does not
    answer, refuses the association or ends it.
    """
    contexts, refused = _contexts(instances)
    stored: list[str] = []
    association = _associate(set(contexts.values()), host, port, called, calling)
    try:
        for instance in instances:
            name = _name(instance)
            if name not in contexts:
                continue
            problem = _store(association, instance)
            if problem is None:
                stored.append(name)
            else:
                refused.append((name, problem))
    finally:
        if association.is_established:
            association.release()
    return SendReport(tuple(stored), tuple(refused))


def _name(instance: Instance) -> str:
    return str(instance if isinstance(instance, Path) else instance.SOPInstanceUID)


def _contexts(instances: Sequence[Instance]) -> tuple[dict[str, tuple[str, str]], list[tuple[str, str]]]:
    """SOP class and transfer syntax of each instance by name, and the instances without them."""
    contexts, refused = {}, []
    for instance in instances:
        try:
            contexts[_name(instance)] = _context(instance)
        except (InvalidDicomError, AttributeError) as error:
            refused.append((_name(instance), f"not a DICOM instance ({error})"))
    return contexts, refused


def _context(instance: Instance) -> tuple[str, str]:
    header = (
        dcmread(instance, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        if isinstance(instance, Path)
        else instance
    )
    return str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)


def _associate(
    contexts: set[tuple[str, str]], host: str, port: int, called: str, calling: str
) -> Association:
    if not contexts:
        raise SendingFailed("there is no DICOM instance to send")
    if len(contexts) > _MAX_CONTEXTS:
        raise SendingFailed(f"{len(contexts)} kinds of object are more than one association can carry")
    ae = AE(ae_title=calling)
    for sop_class, syntax in sorted(contexts):
        ae.add_requested_context(sop_class, syntax)
    association = associate(ae, host, port, called=called)
    if association.is_established:
        return association
    receiver = f"{called} at {host}:{port}"
    if association.is_rejected:
        answer = association.acceptor.primitive
        why = answer.reason_str if answer is not None else "no reason given"
        raise SendingFailed(f"{receiver} refused the association: {why}")
    if association.rejected_contexts:
        raise SendingFailed(f"{receiver} accepts none of the {len(contexts)} kinds of object offered")
    raise SendingFailed(f"{receiver} does not answer")


def _store(association: Association, instance: Instance) -> str | None:
    """Send one instance; None if it was stored, else the reason."""
    try:
        answer = association.send_c_store(instance)
    except ValueError as error:  # no accepted presentation context for it
        return str(error)
    except RuntimeError as error:
        raise SendingFailed(f"the association ended before {_name(instance)}") from error
    if "Status" not in answer:
        raise SendingFailed(f"the association ended without an answer to {_name(instance)}")
    if answer.Status == _SUCCESS:
        return None
    return f"refused with status 0x{answer.Status:04X} {answer.get('ErrorComment', '')}".strip()
