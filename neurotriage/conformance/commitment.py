"""Section 5.3.1: storage commitment of what was received, as its SCP."""

from typing import Final

from dicom_listener.commitment.decide import WAIT_S
from dicom_listener.commitment.reporter import MAX_REFUSALS
from neurotriage.conformance.markdown import table
from neurotriage.core.settings import Settings
from neurotriage.dicom.commitment import FailureReason
from neurotriage.dicom.commitment_request import MAX_REFERENCES

_REASONS: Final = (
    (FailureReason.PROCESSING_FAILURE, "not recorded in time, or its file is missing or damaged"),
    (FailureReason.NO_SUCH_OBJECT, "no such instance was received"),
    (FailureReason.CLASS_INSTANCE_CONFLICT, "the instance is of another SOP class"),
    (FailureReason.DUPLICATE_TRANSACTION, "the Transaction UID was used for another request"),
)


def commitment(settings: Settings) -> str:
    """What is committed, for how long, and how it is reported (PS3.4 J.3)."""
    provided = "yes" if settings.listener.storage_commitment else "no"
    limits = settings.delivery
    reasons = [(f"0x{reason:04X}", when) for reason, when in _REASONS]
    return f"""#### 5.3.1 Storage Commitment as SCP

Where `storage_commitment` is configured (here: {provided}), for every peer of section 6.5 with host and port,
about any instance, whoever sent it. An N-ACTION (action type 1) names at most {MAX_REFERENCES} instances. It
is answered when it is durable, and decided when all that was received before it is recorded, at most
{WAIT_S:g} s later. An instance is committed if it is recorded under the SOP class that was named and its file
is whole; it is then kept without an end. Storage media in the request are ignored. Otherwise:

{table(("Failure Reason", "when"), reasons)}

The N-EVENT-REPORT (event type 1 or 2) comes on a new association to the peer's configured host and port,
never on that of the request, with SCP/SCU Role Selection: SCU 0, SCP 1 (PS3.7 D.3.3.4). It is sent again
after {limits.retry_s:g} s, then after delays that double up to {limits.retry_max_s:g} s, at most
{limits.max_attempts} times; at most {MAX_REFUSALS} times where it is answered with a failure. A report may
come twice. A Transaction UID may be used again for the same request alone, which is then reported anew.

Where it is not configured, a context without the SCP role is rejected, except from archives that are asked as
in section 5.3."""
