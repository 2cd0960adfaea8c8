"""The text about a study as a section of its report (TID 1500 is extensible, PS3.16 6.2.3)."""

from typing import Final

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.coding import Code

from neurotriage.core.summary import Language, Summary
from neurotriage.core.summary_text import origin_words, sections

SUMMARY: Final = Code("55112-7", "LN", "Summary")  # a heading of CID 7001
NARRATIVE_SUMMARY: Final = Code("111412", "DCM", "Narrative Summary")
COMMENT: Final = Code("121106", "DCM", "Comment")
_LANGUAGES: Final = {
    Language.ENGLISH: hd.sr.CodedConcept("en", "RFC5646", "English"),
    Language.GERMAN: hd.sr.CodedConcept("de", "RFC5646", "German"),
}


def narrative(summary: Summary) -> Dataset:
    """A container with a text for each section of the summary, and where the words come from.

    It states its language (TID 1204), which need not be that of the report around it.
    """
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    container = hd.sr.ContainerContentItem(SUMMARY, relationship_type=contains)
    texts = [
        hd.sr.TextContentItem(NARRATIVE_SUMMARY, f"{heading}: {words}", contains)
        for _, heading, words in sections(summary)
    ]
    container.ContentSequence = hd.sr.ContentSequence(
        [
            *hd.sr.LanguageOfContentItemAndDescendants(_LANGUAGES[summary.language]),
            *texts,
            hd.sr.TextContentItem(COMMENT, f"{origin_words(summary)}.", contains),
        ]
    )
    return container
