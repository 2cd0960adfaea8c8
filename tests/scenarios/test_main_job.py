"""A study goes in by C-STORE and comes back as an overlay, a report and a record, whatever dies meanwhile."""

import dataclasses
import functools
import os
import signal
import subprocess

import pytest
import redis
from pydicom import dcmread

from neurotriage.demo.studies import SampleStudy
from tests.scenarios.conftest import Site

pytestmark = pytest.mark.scenario

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
ANSWERS = ("present", "undetermined")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of a worker and of the children in its session."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _analysing(site: Site) -> bool:
    return bool(site.scalar("select count(*) from revisions where state = 'analysing'"))


def _proven(site: Site) -> bool:
    return site.scalar("select count(*) from deliveries where proof_due_at is not null") == 0


def _attempted(site: Site, attempt: int) -> bool:
    return site.scalar("select max(attempt) from revisions") == attempt


@pytest.mark.parametrize("sample", ["mr_study", "ct_study"])
def test_a_head_comes_back_as_page_overlay_and_report(
    site: Site, sample: str, request: pytest.FixtureRequest
) -> None:
    study: SampleStudy = request.getfixturevalue(sample)
    site.send(study)
    row = site.wait_for_end(study)
    assert row["outcome"] in ANSWERS
    stored = [dcmread(path) for path in site.pacs.received().values()]
    assert {dataset.SOPClassUID for dataset in stored} == {SECONDARY_CAPTURE, REPORT}
    assert {dataset.StudyInstanceUID for dataset in stored} == {study.study_instance_uid}
    assert {dataset.PatientID for dataset in stored} == {study.datasets[0].PatientID}
    assert row["deliveries_stored"] == len(stored)
    words = site.scalar("select jsonb_path_query_array(sentences, '$[*].text') from summaries")
    (report,) = [dataset for dataset in stored if dataset.SOPClassUID == REPORT]
    told = [item.get("TextValue", "") for item in report.ContentSequence[-1].ContentSequence]
    assert words
    assert all(any(sentence in text for text in told) for sentence in words)


def test_a_study_is_finished_once_when_the_worker_is_killed(site: Site, mr_study: SampleStudy) -> None:
    site.send(mr_study)
    site.wait("a worker takes the study", lambda: _analysing(site))
    _kill(site.stack.process("analysis"))
    site.stack.start("analysis")
    row = site.wait_for_end(mr_study)
    assert row["attempts"] == 2
    assert site.scalar("select count(*) from analyses") == 1
    assert row["deliveries_stored"] == len(site.pacs.received()) == site.pacs.stores


def test_a_frozen_worker_changes_nothing_when_it_wakes(site: Site, mr_study: SampleStudy) -> None:
    site.send(mr_study)
    site.wait("a worker takes the study", lambda: _analysing(site))
    frozen = site.stack.process("analysis")
    os.killpg(frozen.pid, signal.SIGSTOP)
    site.stack.start("analysis")
    row = site.wait_for_end(mr_study)
    site.wait("nothing is left to prove", lambda: _proven(site))
    before = (site.scalar("select max(id) from events"), site.pacs.stores)
    os.killpg(frozen.pid, signal.SIGCONT)
    frozen.send_signal(signal.SIGTERM)
    frozen.wait(60)
    assert row["attempts"] == 2
    assert (site.scalar("select max(id) from events"), site.pacs.stores) == before


def test_a_study_that_kills_its_worker_each_time_ends_failed_and_others_flow(
    site: Site, mr_study: SampleStudy, ct_study: SampleStudy
) -> None:
    site.send(mr_study)
    for attempt in (1, 2, 3):
        site.wait("the next attempt", functools.partial(_attempted, site, attempt))
        _kill(site.stack.process("analysis"))
        site.stack.start("analysis")
    site.send(ct_study)
    assert site.wait_for_end(ct_study)["outcome"] in ANSWERS
    row = site.wait_for_end(mr_study)
    assert row["outcome"] == "failed"
    codes = site.scalar(
        "select jsonb_path_query_array(reasons, '$[*].code') from analyses where outcome = 'failed'"
    )
    assert codes == ["attempts_exhausted"]


def test_a_flushed_broker_loses_nothing(site: Site, mr_study: SampleStudy) -> None:
    site.stack.process("analysis").send_signal(signal.SIGSTOP)
    site.send(mr_study)
    site.wait("the study is ready", lambda: site.scalar("select count(*) from revisions"))
    redis.Redis.from_url(site.stack.settings.broker.url).flushall()
    os.killpg(site.stack.process("analysis").pid, signal.SIGCONT)
    assert site.wait_for_end(mr_study)["outcome"] is not None


def test_results_reach_a_pacs_that_was_down_without_a_second_analysis(
    site: Site, mr_study: SampleStudy
) -> None:
    port = site.pacs.port
    site.pacs.stop()
    site.send(mr_study)
    site.wait(
        "a try has failed",
        lambda: site.scalar("select max(attempts) from deliveries where last_status <> ''"),
    )
    site.pacs.start(port)
    row = site.wait_for_end(mr_study)
    assert row["deliveries_stored"] == len(site.pacs.received())
    assert site.scalar("select count(*) from events where kind = 'analysing'") == 1


def test_a_study_sent_again_gives_nothing_new_and_a_late_instance_a_new_revision(
    site: Site, mr_study: SampleStudy
) -> None:
    early = dataclasses.replace(mr_study, datasets=mr_study.datasets[:-1])
    site.send(early)
    site.wait_for_end(mr_study)
    first = set(site.pacs.received())
    site.send(early)
    site.send(dataclasses.replace(mr_study, datasets=mr_study.datasets[-1:]))
    site.wait("a second revision", lambda: site.scalar("select count(*) = 2 from revisions"))
    row = site.wait_for_end(mr_study)
    assert row["revision"] == 2
    assert not first & (set(site.pacs.received()) - first)
    assert site.scalar("select max(times_received) from instances") == 2


def test_our_own_results_sent_back_to_us_open_nothing(site: Site, ct_study: SampleStudy) -> None:
    site.send(ct_study)
    site.wait_for_end(ct_study)
    ours = tuple(dcmread(path) for path in site.pacs.received().values())
    site.send(dataclasses.replace(ct_study, datasets=ours))
    site.wait(
        "our results are recorded", lambda: site.scalar("select count(*) from instances where own_result")
    )
    assert site.scalar("select state from studies") == "quiet"
    assert site.scalar("select count(*) from revisions") == 1
