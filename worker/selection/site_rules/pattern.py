"""Regular expressions whose cost is known before they are used.

Python's ``re`` backtracks and has no time limit, so a pattern is refused that could match a text of the
longest length in too many ways: that number bounds the work. What is allowed is a part of Python's syntax:
characters, ``.``, classes, ``^ $ \\b``, groups, alternatives and greedy repetition.
"""

import re
from typing import Final

MAX_LENGTH: Final = 200
# Texts of headers are cut to this length (``neurotriage.dicom.headers.text``).
MAX_TEXT: Final = 256
# Two free repetitions in a row are (256 + 1)^2; a third would take seconds.
MAX_WAYS: Final = 70_000
_MAX_DEPTH: Final = 20

_REPETITION: Final = re.compile(r"\{(?=[\d,])(\d*)(,(\d*))?\}", re.ASCII)
_LETTER_ESCAPES: Final = frozenset("wWdDsSbBnrtAZ")


def checked_pattern(pattern: str) -> str:
    """The pattern as it is. Raises ``ValueError`` with a sentence for one that is none, or may be slow."""
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"a pattern has at most {MAX_LENGTH} characters")
    try:
        re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"no regular expression: {error}") from None
    if _Ways(pattern).counted() > MAX_WAYS:
        raise ValueError(
            "this may take too long: repeat nothing that is itself repeated or has alternatives, and have at "
            "most two of * and + (a repeated choice of characters is a class, such as [ab]*)"
        )
    return pattern


class _Ways:
    """Counts the ways in which a pattern could match the longest text, by recursive descent."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def counted(self) -> int:
        """An upper bound, or a number above ``MAX_WAYS``. Raises ``ValueError`` for syntax not allowed."""
        ways = self._alternatives()
        if self._at < len(self._pattern):
            raise ValueError(f"no regular expression: ) at character {self._at + 1} opens nowhere")
        return ways

    def _alternatives(self) -> int:
        ways = self._sequence()
        while self._took("|"):
            ways += self._sequence()
        return _bounded(ways)

    def _sequence(self) -> int:
        ways = 1
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            ways = _bounded(ways * self._repeated(self._item()))
        return ways

    def _item(self) -> int:
        if self._took("("):
            return self._group()
        if self._took("["):
            self._class()
        elif self._took("\\"):
            self._escape()
        else:
            self._at += 1
        return 1

    def _group(self) -> int:
        if self._took("?") and not self._took(":"):
            raise ValueError("groups that begin with (? are not allowed, but for (?:")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"groups are nested deeper than {_MAX_DEPTH}")
        ways = self._alternatives()
        self._depth -= 1
        self._at += 1  # ``re`` has seen that it is closed
        return ways

    def _class(self) -> None:
        self._took("^")
        self._took("]")  # the first one is a character
        while not self._took("]"):
            if self._took("\\"):
                self._escape()
            else:
                self._at += 1

    def _escape(self) -> None:
        character = self._pattern[self._at]
        if character.isalnum() and character not in _LETTER_ESCAPES:
            raise ValueError(f"\\{character} is not allowed")
        self._at += 1

    def _repeated(self, ways: int) -> int:
        """The ways of what stands before, with its repetition."""
        least, most = 1, 1
        if self._took("*"):
            least, most = 0, MAX_TEXT
        elif self._took("+"):
            most = MAX_TEXT
        elif self._took("?"):
            least = 0
        elif (count := _REPETITION.match(self._pattern, self._at)) is not None:
            self._at = count.end()
            least = int(count[1] or 0)
            most = least if count[2] is None else int(count[3] or MAX_TEXT)
        else:
            return ways
        if self._at < len(self._pattern) and self._pattern[self._at] in "?+*":
            raise ValueError("lazy and possessive repetition is not allowed")
        total = 0
        for times in range(min(least, MAX_TEXT), min(most, MAX_TEXT) + 1):
            total += ways**times
            if total > MAX_WAYS:
                break
        return max(_bounded(total), 1)

    def _took(self, character: str) -> bool:
        there = self._pattern.startswith(character, self._at)
        self._at += len(character) if there else 0
        return there


def _bounded(ways: int) -> int:
    return min(ways, MAX_WAYS + 1)
