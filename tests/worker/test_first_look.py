"""A first look says what calls for a look, and nothing that may be untrue a minute later."""

import pytest
from sqlalchemy import select

from db.studies import assembly
from db.tables import Revision, Series
from neurotriage.core.values import EARLY, Outcome
from tests.db.rows import analysis
from tests.worker.studies import head_ct
from tests.worker.test_tasks import WorkerSite, site  # noqa: F401 - a fixture
from worker.first_look import FIRST_LOOK, as_first_look, tells_early
from worker.results.wording import text as wording
from worker.results.wording.plain_text import report_text


@pytest.mark.unit
@pytest.mark.parametrize("outcome", Outcome)
def test_only_a_suspicion_or_a_doubt_is_told_early(outcome: Outcome) -> None:
    told = tells_early(analysis(outcome))
    assert told is (outcome in (Outcome.PRESENT, Outcome.UNDETERMINED))


@pytest.mark.unit
def test_the_page_the_report_and_the_summary_begin_their_notes_with_the_first_look() -> None:
    early = as_first_look(analysis())
    assert wording.notes(early).startswith("Note: This is a first look, made before all images")
    assert f"Note       {FIRST_LOOK}" in report_text(early)


def test_a_first_look_without_a_suspicion_leaves_no_result_and_the_whole_study_is_analysed(
    site: WorkerSite,  # noqa: F811
) -> None:
    whole = site.receive(head_ct())
    with site.engine.begin() as connection:
        connection.execute(
            Revision.__table__.update().where(Revision.id == whole).values(completed_by=EARLY)  # type: ignore[attr-defined]
        )
        connection.exec_driver_sql("update studies set state = 'open'")
    site.worker.analyse(whole)
    assert site.rows("select state from revisions") == [("unchanged",)]
    assert site.rows("select count(*) from analyses") == [(0,)]
    assert site.rows("select outcome, state from study_results") == [(None, "open")]
    with site.engine.begin() as connection:
        study = connection.execute(select(Series.study_id)).scalar_one()
        complete = assembly.freeze(connection, study, idle_s=0, completed_by="quiet")
    assert complete is not None
    site.worker.analyse(complete)
    assert site.rows("select number, state from revisions order by number") == [
        (1, "unchanged"),
        (2, "analysed"),
    ]


def test_a_first_look_whose_attempts_are_used_up_says_nothing(site: WorkerSite) -> None:  # noqa: F811
    early = site.receive(head_ct())
    with site.engine.begin() as connection:
        connection.execute(
            Revision.__table__.update()  # type: ignore[attr-defined]
            .where(Revision.id == early)
            .values(completed_by=EARLY, attempt=site.worker.settings.worker.max_attempts)
        )
    site.worker.analyse(early)
    assert site.rows("select state from revisions") == [("unchanged",)]
    assert site.rows("select count(*) from analyses") == [(0,)]
