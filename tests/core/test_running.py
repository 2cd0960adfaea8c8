"""A service is told to be restarted after an edit of any section that it uses."""

from pathlib import Path

import pytest

from neurotriage.core.process.role import Role
from neurotriage.core.process.running import LISTENER, edited_since, note_start
from neurotriage.core.settings import Settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("role", "edit", "named"),
    [
        (LISTENER, {"summary": {"wait_s": 7}}, ["[summary]"]),  # its sweep ends requests that are late
        (Role.SUMMARY, {"worker": {"max_attempts": 9}}, ["[worker]"]),
        (Role.SUMMARY, {"summary": {"language": "de"}}, ["[summary]"]),
        (Role.DELIVERY, {"summary": {"language": "de"}}, []),
    ],
)
def test_an_edit_is_noticed_by_the_services_that_use_the_section(
    tmp_path: Path, role: str, edit: dict[str, object], named: list[str]
) -> None:
    storage = {"root": tmp_path}
    note_start(Settings.model_validate({"storage": storage}), role, "one")
    assert edited_since(Settings.model_validate({"storage": storage}), role, "one") == []
    assert edited_since(Settings.model_validate({"storage": storage, **edit}), role, "one") == named
