"""From an analysis to its DICOM result objects."""

from worker.results.build import Results, build
from worker.results.claims import claimed
from worker.results.dataset import showing_text
from worker.results.objects.capture import picture_of
from worker.results.rejection import Ground, rejection_note
from worker.results.wording.plain_text import report_text

__all__ = [
    "Ground",
    "Results",
    "build",
    "claimed",
    "picture_of",
    "rejection_note",
    "report_text",
    "showing_text",
]
