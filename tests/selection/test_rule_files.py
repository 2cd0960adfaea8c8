"""A file of rules is right, or each of its faults is a line that names rule and key."""

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurotriage.core.settings import ConfigurationError
from tests.selection.site import rule, rules_of
from worker.selection import BUILT_IN_ALONE, read_rules

pytestmark = pytest.mark.unit

EQUAL = 'tag = "Modality", equals = "CT"'


def _fault(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        rules_of(text)
    (line,) = str(caught.value).splitlines()
    _, _, fault = line.partition("rules.toml: ")
    return fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (rule(EQUAL) + "weight = 3", '[[rule]] number 1, "a rule": weight: there is no such setting'),
        ("[[rules]]", "[[rules]]"),
        (rule(EQUAL, action="eval"), "action: Input should be 'take', 'refuse' or 'prefer'"),
        (rule('tag = "Modalty", equals = "CT"'), "when.tag: there is no attribute 'Modalty'"),
        (rule('tag = "(0018,0000)", equals = "CT"'), "when.tag: PS3.6 has no attribute (0018,0000)"),
        (rule('tag = "PixelData", present = true'), "up to the pixel data"),
        (rule('tag = "TransferSyntaxUID", present = true'), "from group 0008"),
        (rule('tag = "AnatomicRegionSequence", equals = "x"'), "can only be present or absent"),
        (rule('tag = "SeriesDescription", matches = "("'), "when.matches: no regular expression"),
        (rule('tag = "SeriesDescription", matches = "(a+)+"'), "when.matches: this may take too long"),
        (rule('tag = "SeriesDescription", at_least = 3'), "is a text and has no range"),
        (rule('fact = "slices", between = [9, 3]'), "between: the lower number comes first"),
        (rule('fact = "slices", at_least = nan'), "when.at_least: "),
        (rule('fact = "slices", equals = "many"'), "slices is a number"),
        (rule('fact = "orientation", equals = "oblique"'), "axial, coronal, sagittal"),
        (rule('fact = "weather", equals = "fine"'), "when.fact: Input should be"),
        (rule('tag = "Modality"'), "when: give exactly one of equals"),
        (rule(f'{EQUAL}, matches = "CT"'), "when: give exactly one of equals"),
        (rule('equals = "CT"'), "when: give exactly one of all"),
        (rule(f'fact = "modality", {EQUAL}'), "when: give exactly one of all"),
        (rule("all = []"), "at least one entry"),
        (rule(f'all = [{{ {EQUAL} }}], equals = "CT"'), "equals: needs a tag or a fact"),
        (rule(f"all = [{{ {EQUAL} }}, {{ any = [{{ {EQUAL}, sum = 1 }}] }}]"),
         "when.all.any.sum, value 2, value 1"),
        (rule('tag = "Modality", present = false'), "when.present: Input should be True"),
        (rule("not = { not = { not = { not = { not = { fact = 'peer', absent = true } } } } }"),
         "deeper than 5"),
        ('[[rule]]\nname = "x"\naction = "take"\n', "when: this is needed"),
        ('[[rule]]\nname = "x"\naction = "refuse"\nwhen = { fact = "peer", present = true }',
         '[[rule]] number 1, "x": reason: a rule that refuses needs one'),
        ('[[rule]]\nname = "x"\naction = "take"\nreason = "r"\nwhen = { fact = "peer", present = true }',
         "reason: only a rule that refuses has one"),
        (rule(EQUAL) + rule(EQUAL), "several rules have the name 'a rule'"),
        (rule(EQUAL, name="two\\nlines"), "name: one line of text"),
        ("rule = 1", "rule: write a table in double brackets, or a list"),
        ("[[rule]", "Expected"),
        ("x = " + "[" * 5000, "recursion"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_that_names_rule_and_key(text: str, fault: str) -> None:
    if fault == "[[rules]]":
        assert _fault(text) == "rules: there is no such setting"
    else:
        assert fault in _fault(text)


def test_each_fault_has_a_line_of_its_own() -> None:
    with pytest.raises(ConfigurationError) as caught:
        rules_of(rule('tag = "Foo", equals = 1') + rule("", action="eval", name="b"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all("rules.toml: [[rule]] number " in line for line in lines)


def test_a_file_that_is_missing_binary_or_too_large_is_told(tmp_path: Path) -> None:
    for content, words in (
        (None, "No such file"),
        (b"\xff\xfe\x00", "codec"),
        (b"#" * 300_000, "larger than"),
    ):
        path = tmp_path / "rules.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=words):
            read_rules(path)


def test_no_file_and_a_file_without_rules_leave_the_built_in_ones_alone() -> None:
    assert read_rules(None) is BUILT_IN_ALONE
    assert rules_of("# nothing yet").rules == ()


KEYS = st.sampled_from(
    ["rule", "name", "action", "reason", "when", "all", "any", "not", "tag", "fact", "equals", "one_of",
     "matches", "between", "at_least", "at_most", "present", "absent", "x"]
)  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(["refuse", "take", "Modality", "(0018,1210)", "slices", "orientation", "axial", "a+"]),
    st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8),
)
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(10**6), 10**6), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=20,
)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "") + "'"
    return repr(value)


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=5), max_size=3))
@settings(max_examples=300, deadline=None)
def test_any_toml_is_a_set_of_rules_or_a_configuration_error(tables: list[dict[str, Any]]) -> None:
    text = f"rule = {_toml(tables)}"
    tomllib.loads(text)
    with suppress(ConfigurationError):
        rules_of(text)


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_set_of_rules_or_a_configuration_error(text: str) -> None:
    with suppress(ConfigurationError):
        rules_of(text)
