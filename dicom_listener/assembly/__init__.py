"""When a study is complete, or far enough for a first look, and its freezing into revisions."""

from dicom_listener.assembly.assembler import Assembler
from dicom_listener.assembly.evidence import Decision, Evidence, Known, due
from dicom_listener.assembly.series import SeriesFacts, series_facts
from dicom_listener.assembly.study import StudyFacts, study_facts

__all__ = [
    "Assembler",
    "Decision",
    "Evidence",
    "Known",
    "SeriesFacts",
    "StudyFacts",
    "due",
    "series_facts",
    "study_facts",
]
