"""A second opinion on one analysis: pictures, one request, one closed answer."""

import functools
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from neurotriage.core.evidence import Evidence
from neurotriage.core.second_opinion import Opinion
from neurotriage.core.settings import SecondOpinionSettings
from neurotriage.core.values import Analysis, StudyManifest
from worker.results.sources.scene import read_scene
from worker.second_opinion.pictures import slice_pictures
from worker.second_opinion.question import asked, opinion_of, schema
from worker.second_opinion.text_finder import TextFinder

# Asks once within a limit in seconds, and returns the model's words. Raises ``ProviderError``.
Ask = Callable[[Sequence[Mapping[str, Any]], dict[str, Any], float], str]
_PICTURE: Final = "image_url"


def seek(
    access: SecondOpinionSettings,
    analysis: Analysis,
    evidence: Evidence,
    source: StudyManifest,
    ask: Ask,
    limit_s: float,
) -> Opinion:
    """What the model says of the key slices of an analysis.

    Raises ``Withheld`` where no picture may leave, ``ProviderError`` where no opinion came, and ``OSError``
    where the storage fails.
    """
    pictures = slice_pictures(
        analysis, read_scene(analysis, evidence, source), _text_finder(), most=access.slices
    )
    return opinion_of(ask(asked(pictures), schema(), limit_s), pictures, access.model)


@functools.cache
def _text_finder() -> TextFinder:
    """One for the process: it takes a while to load."""
    return TextFinder()


def without_pictures(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages for the record: of each picture its SHA-256 alone."""
    return [
        {
            **message,
            "content": [_recorded(part) for part in content] if isinstance(content, list) else content,
        }
        for message in messages
        for content in [message["content"]]
    ]


def _recorded(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") != _PICTURE:
        return dict(part)
    return {"type": _PICTURE, "sha256": sha256(part[_PICTURE]["url"].encode()).hexdigest()}
