"""The text of a study: closed phrases over a few facts, chosen by a template or by a checked language model.

Nothing of a DICOM header is among the facts: no name, identifier, date, description or free text.
"""

from worker.summary.facts import Facts, facts_of
from worker.summary.tell import Told, facts_from, tell
from worker.summary.template import template
from worker.summary.verify import Fault, Proposal, Refusal, Verdict, verify

__all__ = [
    "Facts",
    "Fault",
    "Proposal",
    "Refusal",
    "Told",
    "Verdict",
    "facts_from",
    "facts_of",
    "tell",
    "template",
    "verify",
]
