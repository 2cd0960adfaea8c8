"""A regular expression of a site is known to be fast before it is used."""

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.selection.site_rules.pattern import MAX_LENGTH, MAX_TEXT, checked_pattern

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "pattern",
    [
        "", "T1", "^T1.*post", "T1.*(gd|km)", r"^[BH]r?[67]\d", r"\bAX\b", "[^]a]*x", "(?:a|b)c?", "(ab)*",
        r"^(\d\d\d[DWM]|00\dY)$", ".*a.*", "a{2,5}", r"[\]a]+", "a{", "a{}", "x{2}{", "[ab]*c", r"1\.5\(T\)",
        "(a{200}){200}",
    ],
)  # fmt: skip
def test_a_plain_pattern_is_allowed(pattern: str) -> None:
    assert checked_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$", "(a*)*b", "(a|a)*b", "(a|ab)+c", "([a-z]+)*d", "(a?){40}", "a?" * 40, ".*.*.*x", "(.*a){9}",
        "((a|b)|(c|d))*e", "(a{1,99}){1,99}", "(a{,99}){,99}", r"(\w+\s?)*x", "(.*)(.*)(.*)z", "(x+x+)+y",
    ],
)  # fmt: skip
def test_a_pattern_that_may_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="may take too long"):
        checked_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(", "no regular expression"),
        (")", "no regular expression"),
        ("[a", "no regular expression"),
        ("*a", "no regular expression"),
        ("a" * (MAX_LENGTH + 1), "at most 200"),
        (r"(a)\1", "not allowed"),
        ("(?=a)", "not allowed"),
        ("(?P<n>a)", "not allowed"),
        ("(?i)a", "not allowed"),
        ("a*?", "not allowed"),
        ("a++", "not allowed"),
        ("(" * 30 + ")" * 30, "nested deeper"),
    ],
)
def test_what_is_no_pattern_of_ours_is_told(pattern: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        checked_pattern(pattern)


PIECES = st.sampled_from(
    [
        "a",
        "b",
        ".",
        "[ab]",
        "[^a]",
        "(",
        ")",
        "(?:",
        "|",
        "*",
        "+",
        "?",
        "{2}",
        "{0,9}",
        "{,9}",
        "\\w",
        "^",
        "$",
    ]
)


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=400, deadline=None)
def test_no_allowed_pattern_is_slow_on_the_longest_text(pattern: str) -> None:
    try:
        checked_pattern(pattern)
    except ValueError:
        return
    for text in ("a" * (MAX_TEXT - 1) + "!", "ab" * (MAX_TEXT // 2)):
        begun = time.process_time()
        re.search(pattern, text, re.IGNORECASE)
        assert time.process_time() - begun < 2.0, pattern


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_pattern_or_an_error_with_a_sentence(text: str) -> None:
    with suppress(ValueError):
        checked_pattern(text)
