"""Text in pictures, by a reader of text (PP-OCR, run by rapidocr and ONNX Runtime)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from worker.second_opinion.withheld import Withheld

_LEAST_SCORE: Final = 0.5
_LEAST_LETTERS: Final = 2  # a skull reads as an O
_SCALES: Final = (1, 2)  # small letters are found on the enlarged picture


class TextFinder:
    """Loads the reader once. Raises ``Withheld`` where it is missing or fails: no picture may be sent."""

    def __init__(self) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError:
            raise Withheld("no reader of text is installed: pip install 'neurotriage[opinion]'") from None
        with _failing_withholds():
            self._read = RapidOCR(params={"Global.use_cls": False, "Global.log_level": "error"})

    def finds(self, picture: NDArray[np.uint8]) -> bool:
        """Whether a grey picture (rows, columns) holds anything that reads as text."""
        return any(self._words(np.kron(picture, np.ones((n, n), np.uint8))) for n in _SCALES)

    def _words(self, picture: NDArray[np.uint8]) -> list[str]:
        with _failing_withholds():
            found: Any = self._read(np.stack([picture] * 3, axis=-1))
        pairs = zip(found.txts or (), found.scores or (), strict=False)
        return [
            words
            for words, score in pairs
            if score >= _LEAST_SCORE and sum(map(str.isalnum, words)) >= _LEAST_LETTERS
        ]


@contextmanager
def _failing_withholds() -> Iterator[None]:
    """Whatever the reader raises: what it did not read may hold text."""
    try:
        yield
    except Exception as error:
        raise Withheld("the reader of text failed") from error
