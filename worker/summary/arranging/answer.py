"""From the text of an answer to the sentences that it proposes."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.provider.faults import ProviderError, ProviderFault
from worker.summary.verify import Proposal

_MAX_SENTENCES: Final = 60
_MAX_TEXT: Final = 1000


class _Sentence(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    phrase: str = Field(max_length=_MAX_TEXT)
    facts: list[str] = Field(max_length=_MAX_SENTENCES)
    text: str = Field(max_length=_MAX_TEXT)


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    sentences: list[_Sentence] = Field(max_length=_MAX_SENTENCES)


def proposals(answer: str) -> tuple[Proposal, ...]:
    """The sentences of an answer. Raises ``ProviderError`` where it is not what was asked for."""
    try:
        read = _Answer.model_validate_json(answer)
    except ValidationError as error:
        raise ProviderError(ProviderFault.NOT_AN_ANSWER, "the answer is not the JSON asked for") from error
    return tuple(Proposal(item.phrase, tuple(item.facts), item.text) for item in read.sentences)
