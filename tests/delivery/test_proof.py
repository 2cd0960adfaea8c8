"""Success is believed when there is a proof: storage commitment, else a query."""

import pytest
from pydicom import dcmread
from pynetdicom import evt
from structlog.testing import capture_logs

from neurotriage.demo.pacs import StandInPacs
from tests.db.rows import written
from tests.delivery.archive import Archive, on_the_same_association, refuses
from tests.delivery.conftest import Site
from worker.delivery import dimse_client

LOOKS = 4
RESENDS = 2


@pytest.fixture
def reports_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that does come is waited for, however busy this machine is."""
    monkeypatch.setattr(dimse_client, "_REPORT_WAIT_S", 30.0)


@pytest.mark.usefixtures("reports_come")
def test_what_is_committed_on_the_same_association_is_proven(site: Site) -> None:
    with Archive(commits=True) as archive:
        archive.on_request = on_the_same_association
        site.destination("pacs", archive.port)
        site.results(1, 2)
        assert site.deliver() == 2
    assert all(site.column("committed_at"))
    assert site.column("proof") == ["committed by the destination"] * 2
    assert site.column("proof_due_at") == [None, None]
    assert site.events() == ["stored", "stored", "committed"]
    assert (archive.associations, len(archive.requests), archive.queries) == (1, 1, [])


def test_what_cannot_be_committed_is_looked_for_on_the_same_association(site: Site) -> None:
    with Archive() as archive:
        site.destination("pacs", archive.port)
        site.results(1, 2)
        site.deliver()
    assert all(site.column("found_at"))
    assert not any(site.column("committed_at"))
    assert site.events() == ["stored", "stored", "found"]
    assert (archive.associations, len(archive.queries)) == (1, 1)  # one query per series


def test_a_request_for_commitment_that_is_refused_is_made_up_for_by_a_query(site: Site) -> None:
    with Archive(commits=True) as archive:
        archive.on_request = refuses
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
    assert all(site.column("found_at"))


@pytest.mark.usefixtures("reports_come")
@pytest.mark.parametrize(
    ("choice", "requests", "queries"),
    [({"commitment": "off"}, 0, 1), ({"commitment": "off", "find": "off"}, 0, 0), ({"find": "off"}, 1, 0)],
)
def test_what_is_switched_off_is_not_asked(
    site: Site, choice: dict[str, str], requests: int, queries: int
) -> None:
    with Archive(commits=True) as archive:
        archive.on_request = on_the_same_association
        site.destination("pacs", archive.port, **choice)
        site.results(1)
        assert site.deliver() == 1
    assert (len(archive.requests), len(archive.queries)) == (requests, queries)
    assert site.column("proof_due_at") == [None]


def test_an_archive_that_knows_series_only_is_asked_for_the_series(site: Site) -> None:
    with Archive() as archive:
        site.destination("pacs", archive.port, find="series")
        site.results(1, 2)
        site.deliver()
    assert all(site.column("found_at"))
    assert archive.queries[0].QueryRetrieveLevel == "SERIES"


def test_a_pacs_that_offers_no_proof_is_no_reason_for_an_alarm(site: Site, pacs: StandInPacs) -> None:
    site.results(1)
    site.deliver()
    assert site.column("proof") == ["no proof: the destination offers neither storage commitment nor query"]
    assert site.column("alarmed_at") == site.column("proof_due_at") == [None]
    assert pacs.stores == 1


def test_an_archive_that_accepts_and_never_commits_is_queried_in_the_end(site: Site) -> None:
    with Archive(commits=True) as archive:
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        assert site.column("proof") == ["storage commitment asked for"]
        site.deliver()
        assert archive.associations == 1  # there is time until it answers
        site.let_time_pass()
        site.deliver()
    assert all(site.column("found_at"))
    assert site.column("committed_at") == [None]
    assert archive.stores == ["2.25.1"]


def test_an_archive_that_never_commits_and_cannot_be_queried_raises_an_alarm(site: Site) -> None:
    with Archive(commits=True, finds=False) as archive:
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        site.let_time_pass()
        site.deliver()
        site.let_time_pass()
        site.deliver()
    assert site.column("state") == ["stored"]
    assert all(site.column("alarmed_at"))
    assert "never answered" in site.column("proof")[0]
    assert archive.stores == ["2.25.1"]


def test_success_without_storing_is_seen_and_ends(site: Site) -> None:
    """It is looked for, sent again a few times, and at last left with an alarm."""
    with Archive(keeps=False) as archive, capture_logs() as logs:
        site.destination("pacs", archive.port)
        site.results(1)
        for _ in range(3 * LOOKS * (RESENDS + 1)):
            site.deliver()
            site.let_time_pass()
    assert archive.stores == ["2.25.1"] * (RESENDS + 1)
    assert len(archive.queries) == LOOKS * (RESENDS + 1) + RESENDS  # and one before each resend
    assert site.column("state") == ["stored"]
    assert (site.column("committed_at"), site.column("found_at")) == ([None], [None])
    assert all(site.column("alarmed_at"))
    assert site.column("proof") == ["answered with success, but not found after 4 looks; sent 3 times"]
    assert site.events() == ["stored", "sent_again", "stored", "sent_again", "stored", "unproven"]
    assert [entry["event"] for entry in logs].count("delivery_lost") == RESENDS + 1


def test_an_archive_that_finds_late_is_waited_for(site: Site) -> None:
    with Archive(keeps=False) as archive:
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        assert site.column("proof") == ["not found there yet"]
        archive.kept["2.25.1"] = dcmread(site.root / written(1).path)
        site.let_time_pass()
        site.deliver()
    assert all(site.column("found_at"))
    assert site.column("alarmed_at") == [None]
    assert archive.stores == ["2.25.1"]


@pytest.mark.usefixtures("reports_come")
def test_what_an_archive_says_it_does_not_have_is_sent_again_with_its_uid(site: Site) -> None:
    with Archive(commits=True, keeps=False) as archive:
        archive.on_request = on_the_same_association
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        assert site.column("state") == ["waiting"]
        assert "it does not have the object (0x0112)" in site.column("proof")[0]
        assert all(site.column("alarmed_at"))
        archive.keeps = True
        site.let_time_pass()
        site.deliver()
    assert archive.stores == ["2.25.1", "2.25.1"]
    assert all(site.column("committed_at"))
    assert site.column("alarmed_at") == [None]


@pytest.mark.usefixtures("reports_come")
def test_some_objects_may_be_committed_and_others_not(site: Site) -> None:
    with Archive(commits=True) as archive:
        loses = archive.kept.pop

        def answer(archive: Archive, event: evt.Event) -> int:
            loses("2.25.2", None)
            return on_the_same_association(archive, event)

        archive.on_request = answer
        site.destination("pacs", archive.port)
        site.results(1, 2)
        site.deliver()
    assert [bool(at) for at in site.column("committed_at")] == [True, False]
    assert site.column("state") == ["stored", "waiting"]


def test_an_archive_that_goes_away_before_the_proof_is_asked_again(site: Site) -> None:
    with Archive(commits=True) as archive:

        def goes(_: Archive, event: evt.Event) -> int:
            event.assoc.abort()
            return 0x0000

        archive.on_request = goes
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        assert site.column("state") == ["stored"]
        site.let_time_pass()
        site.deliver()
    assert all(site.column("found_at"))
    assert archive.stores == ["2.25.1"]


def test_a_query_that_cannot_be_answered_now_is_put_again(site: Site) -> None:
    with Archive() as archive:
        archive.query_status = 0xA700
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        assert site.column("proof") == ["the query was answered 0xA700"]
        archive.query_status = 0x0000
        site.let_time_pass()
        site.deliver()
    assert all(site.column("found_at"))


def test_a_query_that_is_not_understood_is_no_proof_and_no_alarm(site: Site) -> None:
    with Archive() as archive:
        archive.query_status = 0xA900
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
    assert site.column("proof_due_at") == site.column("alarmed_at") == [None]


def test_looking_for_a_proof_ends_when_nobody_answers(site: Site) -> None:
    site.choose(delivery={"max_attempts": 3})
    with Archive(keeps=False) as archive:
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
    for _ in range(5):
        site.let_time_pass()
        site.deliver()
    assert site.column("proof_tries") == [2]
    assert site.column("proof_due_at") == [None]
    assert " does not answer: " in site.column("proof")[0]
    assert all(site.column("alarmed_at"))


def test_a_replaced_result_that_got_lost_is_not_sent_again(site: Site) -> None:
    with Archive(keeps=False) as archive:
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        site.execute("update revisions set superseded = true")
        for _ in range(LOOKS + 1):
            site.let_time_pass()
            site.deliver()
    assert archive.stores == ["2.25.1"]
    assert site.column("state") == ["stored"]
