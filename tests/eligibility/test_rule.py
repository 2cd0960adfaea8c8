"""The rule file holds every number of eligibility, with its unit and its source."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from neurotriage.core.settings import WorkerSettings
from worker.eligibility import EligibilityRule, parse_rule
from worker.vision import BadWeights
from worker.vision.registry.rule import read_rule_file

pytestmark = pytest.mark.unit

ROWS = json.loads((WorkerSettings().weights / "study_rule.json").read_text())["eligibility"]


def test_the_release_says_of_each_number_what_it_is_and_where_it_comes_from() -> None:
    assert set(ROWS) == {field.name for field in fields(EligibilityRule)}
    assert all(set(row) == {"value", "unit", "source"} for row in ROWS.values())


@pytest.mark.parametrize("lost", ["value", "unit", "source"])
def test_a_number_without_its_unit_or_source_is_refused(lost: str) -> None:
    row = {name: text for name, text in ROWS["min_slices"].items() if name != lost}
    with pytest.raises(KeyError):
        parse_rule({**ROWS, "min_slices": row})


@pytest.mark.parametrize("lost", [field.name for field in fields(EligibilityRule)])
def test_no_number_has_a_default(lost: str) -> None:
    with pytest.raises(KeyError):
        parse_rule({name: row for name, row in ROWS.items() if name != lost})


def test_a_file_without_the_part_is_named_damaged(tmp_path: Path) -> None:
    (tmp_path / "study_rule.json").write_text(json.dumps({"rules": {}}))
    with pytest.raises(BadWeights, match="eligibility"):
        read_rule_file(tmp_path)
