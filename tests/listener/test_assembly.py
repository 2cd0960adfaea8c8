"""When a study is complete."""

import pytest

from db.intake import OpenStudy
from dicom_listener.assembly import due

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("idle_s", "evidence"), [(0.0, None), (59.9, None), (60.0, "quiet"), (86_400.0, "quiet")]
)
def test_a_study_is_complete_when_it_has_been_quiet(idle_s: float, evidence: str | None) -> None:
    assert due(OpenStudy(1, idle_s, 20), 60.0) == evidence
