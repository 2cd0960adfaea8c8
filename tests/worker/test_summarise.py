"""Models of others are asked about a study after its results; whatever they do, the template's text stays."""

import json
import time

import pytest
from pydicom import dcmread
from sqlalchemy import text

from db import summary_requests
from db.studies import repeat
from db.studies.cancel import cancel
from neurotriage.core.settings import Settings
from tests.summary.chat_server import (
    Behaviour,
    Handler,
    Request,
    answers,
    arranges,
    changes,
    chat_server,
    fails,
    is_silent,
)
from tests.worker.asking import (
    asked_again,
    asking,
    configure,
    documents,
    origins,
    reconfigure,
    requests,
    summarised,
)
from tests.worker.studies import head_ct
from tests.worker.test_living_results import model
from tests.worker.test_tasks import WorkerSite, site
from worker.telling import summarise

__all__ = ["model", "site"]  # fixtures
pytestmark = pytest.mark.usefixtures("model")


def test_results_are_delivered_at_once_and_the_models_text_follows_as_a_revision(site: WorkerSite) -> None:
    with asking(site, arranges):
        assert origins(site) == ["template"]
        assert site.rows("select count(*) from deliveries where state = 'waiting'")[0][0] >= 3
        names = summarised(site)
    assert requests(site) == [("accepted", "")]
    assert origins(site) == ["template", "model"]
    assert documents(site) == [("report", True), ("pdf", True), ("report", False), ("pdf", False)]
    assert names == tuple(site.rows("select distinct destination from deliveries")[0])


def test_no_text_follows_for_a_study_that_was_cancelled(site: WorkerSite) -> None:
    def cancels(handler: Handler, request: Request) -> None:
        with site.engine.begin() as connection:
            ((study_id,),) = connection.execute(text("select id from studies where state = 'quiet'")).all()
            cancel(connection, study_id, made_by="test", reason="phantom")
        arranges(handler, request)

    with asking(site, cancels):
        assert summarised(site) == ()
    assert requests(site) == [("overtaken", "cancelled by test")]
    assert site.rows("select distinct state from deliveries") == [("given_up",)]
    assert origins(site) == ["template"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (changes("CT", "MR"), "refused: "),
        (fails(404), "model_gone: "),
        (fails(500), "server_error: "),
        (answers("The brain looks normal."), "not_an_answer: "),
        (answers('{"sentences": [{"phrase": "\\u0000", "facts": [], "text": "\\u0000"}]}'), "refused: "),
        (answers("\0\ud800"), "not_an_answer: "),
    ],
)
def test_a_fault_leaves_the_template_and_its_reason(
    site: WorkerSite, behaviour: Behaviour, reason: str
) -> None:
    with asking(site, behaviour):
        assert summarised(site) == ()
    ((state, said),) = requests(site)
    assert (state, said.startswith(reason)) == ("refused", True)
    assert origins(site) == ["template"]
    assert documents(site) == [("report", False), ("pdf", False)]
    assert site.rows("select detail ->> 'reason' from events where kind = 'text_refused'") == [(said,)]


def test_no_byte_of_a_header_leaves_or_is_kept(site: WorkerSite, capfd: pytest.CaptureFixture[str]) -> None:
    with asking(site, changes("CT", "MR"), fails(500)) as chat:
        summarised(site)
    kept = json.dumps(
        [list(row) for row in site.rows("select request, answer, detail, refusals from summary_exchanges")]
    )
    uids = [
        row[0]
        for row in site.rows(
            "select study_instance_uid from studies union select series_instance_uid from series"
        )
    ]
    log = "".join(capfd.readouterr())
    for words in (*(body.decode() for body in chat.bodies), kept, log):
        for canary in ("canary", "ignore the above", "19570304", *uids):
            assert canary not in words.casefold()
    assert chat.bodies


def test_what_was_asked_and_answered_is_kept(site: WorkerSite) -> None:
    with asking(site, changes("CT", "MR"), arranges):
        summarised(site)
    rows = site.rows(
        "select jsonb_array_length(request), answer, fault, jsonb_array_length(refusals), took_s "
        "from summary_exchanges order by id"
    )
    assert [(row[0], row[2]) for row in rows] == [(2, None), (4, None)]
    assert rows[0][3] > 0
    assert rows[1][3] == 0
    assert all("sentences" in row[1] and row[4] > 0 for row in rows)


def test_a_missing_key_is_told_and_nobody_is_asked(site: WorkerSite) -> None:
    with asking(site, arranges) as chat:
        (site.storage.root.parent / "key").unlink()
        summarised(site)
    assert requests(site)[0][1].startswith("no_key: ")
    assert chat.bodies == []


def test_a_dead_provider_holds_a_study_no_longer_than_its_time(site: WorkerSite) -> None:
    began_s = time.monotonic()
    with asking(site, is_silent, wait_s=3.0, timeout_s=1.0, retries=9):
        summarised(site)
    assert time.monotonic() - began_s < 60
    assert requests(site)[0][1].startswith("too_slow: ")
    took = site.rows("select extract(epoch from ended_at - created_at) from summary_requests")[0][0]
    assert took < 5


def test_a_provider_that_keeps_failing_is_left_alone_and_tried_again_later(site: WorkerSite) -> None:
    with asking(site, fails(500), failures_to_pause=2, retries=1) as chat:
        summarised(site)
        for number in (1, 2):
            site.worker.analyse(
                site.receive(head_ct(StudyInstanceUID=f"2.25.{number}", SeriesInstanceUID=f"2.25.1{number}"))
            )
        summarised(site)
        assert len(chat.bodies) == 2
        assert requests(site)[1][1].startswith("paused: ")
        with site.engine.begin() as connection:
            connection.execute(
                text("update summary_exchanges set asked_at = asked_at - interval '10 minutes'")
            )
        chat.behaviours[:] = [arranges]
        summarised(site)
    assert requests(site)[2] == ("accepted", "")


def test_no_more_requests_are_made_in_a_minute_than_are_allowed(site: WorkerSite) -> None:
    with asking(site, arranges, requests_per_minute=1) as chat:
        summarised(site)
        site.worker.analyse(site.receive(head_ct(StudyInstanceUID="2.25.1", SeriesInstanceUID="2.25.11")))
        with site.engine.begin() as connection:  # the turn of the first comes back in 50 seconds, too late
            connection.execute(
                text("update summary_requests set created_at = created_at - interval '50 seconds'")
            )
        summarised(site)
    assert len(chat.bodies) == 1
    assert requests(site)[1] == ("refused", "no_turn: as many requests as are allowed were made")


def test_a_text_for_an_analysis_that_no_longer_stands_is_not_asked_for(site: WorkerSite) -> None:
    with asking(site, arranges) as chat:
        with site.engine.begin() as connection:
            connection.execute(text("update revisions set superseded = true"))
        summarised(site)
    assert requests(site)[0][0] == "overtaken"
    assert chat.bodies == []


def test_a_text_for_an_analysis_that_another_took_the_place_of_is_not_asked_for(site: WorkerSite) -> None:
    with asking(site, arranges) as chat:
        with site.engine.begin() as connection:
            ((study_id,),) = connection.execute(text("select id from studies where state = 'quiet'")).all()
            again = repeat.reprocess(connection, study_id, reason="test")
        assert again.revision_id is not None
        site.worker.analyse(again.revision_id)
        summarised(site)
        assert chat.bodies == []
        summarised(site)
    assert [state for state, _ in requests(site)] == ["overtaken", "accepted"]
    assert origins(site) == ["template", "template", "model"]


def test_a_study_that_was_not_analysed_is_asked_about_by_nobody(site: WorkerSite) -> None:
    with chat_server(arranges) as chat:
        configure(site, chat)
        site.worker.settings = site.worker.settings.model_copy(
            update={"worker": site.worker.settings.worker.model_copy(update={"max_attempts": 0})}
        )
        site.worker.analyse(site.receive(head_ct()))
        assert requests(site) == []
    assert origins(site) == ["template"]


def test_asked_again_the_settings_of_today_hold(site: WorkerSite) -> None:
    with asking(site, arranges) as chat:
        summarised(site)
        reconfigure(site, language="de")
        asked_again(site)
        chat.behaviours[:] = [fails(500)]
        reconfigure(site, language="en")
        asked_again(site)
    rows = [tuple(row) for row in site.rows("select language, origin from summaries order by id")]
    assert rows == [("en", "template"), ("en", "model"), ("de", "model")]  # refused: what stood stays


def test_a_worker_that_lost_its_request_writes_nothing(site: WorkerSite) -> None:
    def expires(handler: Handler, request: Request) -> None:
        with site.engine.begin() as connection:
            connection.execute(text("update summary_requests set token = token + 1, state = 'late'"))
        arranges(handler, request)

    with asking(site, expires):
        assert summarised(site) == ()
    assert origins(site) == ["template"]
    assert requests(site)[0][0] == "late"


def test_a_text_waits_for_no_analysis_that_is_about_to_follow(site: WorkerSite) -> None:
    def more_images(handler: Handler, request: Request) -> None:
        with site.engine.begin() as connection:
            ((study_id,),) = connection.execute(text("select id from studies where state = 'quiet'")).all()
            repeat.reprocess(connection, study_id, reason="test")
        arranges(handler, request)

    with asking(site, more_images):
        assert summarised(site) == ()
    assert origins(site) == ["template"]
    assert requests(site)[0][0] == "overtaken"


def test_key_objects_name_the_report_that_stands(site: WorkerSite) -> None:
    with chat_server(arranges) as chat:
        configure(site, chat)
        settings = site.worker.settings.model_dump()
        settings["destination"] = [{**settings["destination"][0], "objects": ["report", "ko"]}]
        site.worker.settings = Settings.model_validate(settings)
        site.worker.analyse(site.receive(head_ct()))
        summarised(site)
    rows = site.rows("select kind, path, sop_instance_uid from result_objects where not superseded")
    report = next(uid for kind, _, uid in rows if kind == "report")
    for kind, path, _ in rows:
        if kind == "ko":
            named = str(dcmread(site.storage.root / path).ContentSequence)
            assert report in named


def test_a_study_is_asked_about_by_one_worker_however_long_the_answer_takes(
    site: WorkerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summarise, "_LEASE_S", 1.0)
    taken = []

    def slow(handler: Handler, request: Request) -> None:
        time.sleep(1.5)  # longer than a lease that nobody renews
        with site.engine.begin() as connection:
            taken.append(
                summary_requests.claim_next(connection, owner="other", wait_s=60, lease_s=1, attempts=9)
            )
        arranges(handler, request)

    with asking(site, slow):
        summarised(site)
    assert taken == [None]
    assert requests(site) == [("accepted", "")]
