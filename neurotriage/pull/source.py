"""What an archive is asked for, whichever protocol it speaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from neurotriage.core.errors import SetupError
from neurotriage.pull.lines import Key


class StudyFailed(Exception):
    """This study cannot be had; another may be."""


class SourceUnusable(SetupError):
    """No study can be had before a person has changed something; the message says what."""


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study of the archive; ``images`` by its NumberOfStudyRelatedInstances, None where it has none."""

    study_instance_uid: str
    images: int | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a study: images that are durable here, and what the archive says of the rest."""

    images: int
    detail: str = ""


class Source(Protocol):
    """An archive. Both raise ``Unavailable``, ``StudyFailed`` or ``SourceUnusable``."""

    def find(self, key: Key, value: str) -> Sequence[FoundStudy]:
        """The studies with exactly this value."""

    def fetch(self, study: FoundStudy) -> Fetched:
        """Have a study sent here."""


def as_count(value: object) -> int | None:
    """A number of images as an archive writes it."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
