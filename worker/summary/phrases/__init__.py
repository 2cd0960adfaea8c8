"""The closed phrases of each language: the first wording of each is the usual one."""

from collections.abc import Mapping
from typing import Final

from neurotriage.core.summary import Language
from worker.summary.phrases.english import ENGLISH
from worker.summary.phrases.german import GERMAN
from worker.summary.phrases.vocabulary import Vocabulary

VOCABULARIES: Final[Mapping[Language, Vocabulary]] = {Language.ENGLISH: ENGLISH, Language.GERMAN: GERMAN}

__all__ = ["VOCABULARIES", "Vocabulary"]
