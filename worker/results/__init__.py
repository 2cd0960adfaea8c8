"""Result objects from an analysis: what a radiologist sees, a PACS accepts and a validator passes."""

from worker.results.build import build
from worker.results.capture import picture_of
from worker.results.claims import claimed
from worker.results.text import report_text

__all__ = ["build", "claimed", "picture_of", "report_text"]
