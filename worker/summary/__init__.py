"""The text of a study: closed phrases over a few facts, chosen by a template or by a checked language model.

Nothing of a DICOM header is among the facts: no name, identifier, date, description or free text.
"""

from worker.summary.facts import Facts, facts_of
from worker.summary.tell import Told, tell
from worker.summary.template import template

__all__ = ["Facts", "Told", "facts_of", "tell", "template"]
