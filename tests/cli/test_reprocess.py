"""``reprocess`` analyses afresh what it is told to, and says what it left out and why."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, text
from typer.testing import CliRunner, Result

from db.studies import leases
from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE
from tests.db.rows import STUDY, analysed, claimed, ready_revision, receive

FAILED, ARRIVING, WAITING = "1.2.4", "1.2.5", "1.2.6"


@pytest.fixture(autouse=True)
def _configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")


def fail(connection: Connection, study: str) -> None:
    """A study whose worker died at every attempt."""
    held = claimed(connection, ready_revision(connection, study=study))
    leases.give_back(connection, held, "Traceback")
    assert leases.fail_abandoned(connection, attempts=1) == 1


@pytest.fixture
def studies(engine: Engine) -> None:
    """One of each: analysed, failed, still arriving, waiting for a worker."""
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)))
        fail(connection, FAILED)
        receive(connection, 1, study=ARRIVING)
        ready_revision(connection, study=WAITING)


def _say(*words: str, exit_code: int = 0) -> Result:
    answer = CliRunner().invoke(app, ["reprocess", *words])
    assert answer.exit_code == exit_code, answer.output
    return answer


def _revisions(engine: Engine, study: str) -> list[tuple[int, str]]:
    rows = text(
        "select r.number, r.state from revisions r join studies s on s.id = r.study_id "
        "where s.study_instance_uid = :study order by 1"
    )
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(rows, {"study": study})]


@pytest.mark.usefixtures("studies")
@pytest.mark.parametrize(("study", "before"), [(STUDY, "analysed"), (FAILED, "failed")])
def test_a_named_study_gets_a_revision_of_the_same_images_with_the_reason(
    engine: Engine, study: str, before: str
) -> None:
    told = _say(study, "--reason", "threads were wrong").stdout.splitlines()
    assert told == [f"{study}  is analysed again as revision 2", "1 of 1 studies will be analysed again"]
    assert _revisions(engine, study) == [(1, before), (2, "ready")]
    with engine.connect() as connection:
        frozen = connection.execute(
            text("select count(*) from revision_instances group by revision_id order by revision_id")
        ).scalars()
        assert set(frozen) == {2}
        detail = connection.execute(text("select detail from events where kind = 'reprocessed'")).scalar_one()
    assert detail == {"reason": "threads were wrong"}
    assert "reprocessed reason=threads were wrong" in CliRunner().invoke(app, ["why", study]).stdout


@pytest.mark.usefixtures("studies")
def test_only_what_failed_is_taken_where_that_is_asked_for(engine: Engine) -> None:
    assert f"{FAILED}  is analysed again" in _say("--failed").stdout
    assert [len(_revisions(engine, study)) for study in (STUDY, FAILED)] == [1, 2]
    assert _say("--failed").stdout == "no such study: nothing to do\n"


@pytest.mark.usefixtures("studies")
def test_what_was_skipped_is_told_with_the_reason(engine: Engine) -> None:
    told = _say("--since", "2026-01-01").stdout
    assert f"{ARRIVING}  skipped: images still arrive" in told
    assert f"{WAITING}  skipped: it is about to be analysed anyway" in told
    assert told.endswith("2 of 4 studies will be analysed again\n")
    assert [len(_revisions(engine, study)) for study in (ARRIVING, WAITING)] == [0, 1]
    assert "skipped" in _say(WAITING, exit_code=1).stdout


@pytest.mark.usefixtures("studies")
def test_an_unknown_study_is_told_and_the_others_are_taken(engine: Engine) -> None:
    answer = _say("9.9.9", STUDY, exit_code=1)
    assert answer.stderr == "no study has the StudyInstanceUID or accession number 9.9.9\n"
    assert len(_revisions(engine, STUDY)) == 2


@pytest.mark.usefixtures("studies")
def test_an_accession_number_takes_every_study_that_has_it() -> None:
    assert "of 4 studies" in _say("A1", exit_code=1).stdout


@pytest.mark.usefixtures("studies")
@pytest.mark.parametrize(("days", "count"), [(1, 0), (-1, 1)])
def test_a_time_bounds_what_failed(engine: Engine, days: int, count: int) -> None:
    with engine.begin() as connection:
        connection.execute(text("update studies set first_received_at = now()"))
    since = (datetime.now().astimezone() + timedelta(days=days)).isoformat(timespec="minutes")
    _say("--failed", "--since", since)
    assert len(_revisions(engine, FAILED)) == 1 + count
    assert "will be analysed again" in _say("--since", "90m").stdout


@pytest.mark.usefixtures("studies")
def test_the_number_of_studies_is_bounded_and_the_rest_is_told(engine: Engine) -> None:
    with engine.begin() as connection:
        fail(connection, "1.2.7")
    answer = _say("--failed", "--limit", "1")
    assert answer.stderr == "2 studies match; --limit allows only the newest 1\n"
    assert answer.stdout.splitlines()[-1] == "1 of 1 studies will be analysed again"


@pytest.mark.parametrize(
    "words",
    [
        (),
        (STUDY, "--failed"),
        (STUDY, "--since", "2026-01-01"),
        ("--since", "yesterday"),
        ("--since", "9999999d"),
        ("--failed", "--limit", "0"),
        (STUDY, "--reason", "two\nlines"),
        (STUDY, "--reason", "x" * 201),
    ],
)
def test_wrong_usage_ends_with_2_and_changes_nothing(engine: Engine, words: tuple[str, ...]) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)))
    _say(*words, exit_code=2)
    assert len(_revisions(engine, STUDY)) == 1
