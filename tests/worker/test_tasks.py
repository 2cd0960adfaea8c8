"""A doorbell is answered once, and the revision ends in a state that says why."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from pydicom import Dataset, dcmread
from sqlalchemy import Engine, text

from db.studies import assembly, leases, repeat
from db.studies.instances import record_instances
from dicom_listener.dispatch import sweep
from neurotriage.core.evidence import Evidence
from neurotriage.core.priority import Priority
from neurotriage.core.process.doorbell import ANALYSE, celery_app, ring
from neurotriage.core.settings import ResultsSettings, Settings
from neurotriage.core.storage import Storage, write_durably
from neurotriage.core.values import USUAL_KINDS, Claims, ResultKind
from neurotriage.dicom.headers import read_instance
from tests.core.made import part10
from tests.db.rows import RECEPTION, backlog_waits, put_into
from tests.vision.synthetic import write_weights
from tests.worker.studies import head_ct, head_mr
from tests.worker.weights import hollow_weights
from worker.attempt import Worker
from worker.results import Results, build
from worker.vision import read_registry

STUDY = "2.25.100"


class WorkerSite:
    """A worker, the storage, and a way to ask the tables."""

    def __init__(self, engine: Engine, url: str, broker_url: str, folder: Path) -> None:
        self.engine = engine
        self.storage = Storage(folder / "storage")
        (folder / "weights").mkdir()
        destination = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}
        settings = Settings.model_validate(
            {
                "database": {"url": url},
                "broker": {"url": broker_url},
                "storage": {"root": self.storage.root},
                "worker": {"weights": hollow_weights(folder / "weights"), "max_attempts": 2, "threads": 1},
                "destination": [
                    {"name": "pacs", **destination},
                    {"name": "archive", **destination, "report_unanalysed": "none"},
                ],
            }
        )
        self.broker = redis.Redis.from_url(broker_url)
        self.broker.flushall()
        self.worker = Worker(settings, celery_app(settings))

    def receive(self, instances: Sequence[Dataset]) -> int:
        """Take in instances as the listener does and freeze the study; the revision's id."""
        with self.engine.begin() as connection:
            for dataset in instances:
                incoming = self.storage.root / "incoming.dcm"
                write_durably(incoming, part10(dataset))
                header = read_instance(incoming)
                place = self.storage.stored_instance(header.digest)
                place.parent.mkdir(parents=True, exist_ok=True)
                incoming.rename(place)
                record_instances(connection, [(header, RECEPTION)])
            study = connection.execute(
                text("select id from studies where study_instance_uid = :uid"),
                {"uid": str(instances[0].StudyInstanceUID)},
            ).scalar_one()
            revision_id = assembly.freeze(connection, study, idle_s=0, completed_by="quiet")
        assert revision_id is not None
        return revision_id

    def rows(self, statement: str) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def expire(self) -> None:
        """Let every lease run out."""
        with self.engine.begin() as connection:
            connection.execute(text("update revisions set lease_until = now() - interval '1 second'"))

    def codes(self) -> list[str]:
        rows = self.rows("select reasons from analyses order by id desc limit 1")
        return [reason["code"] for reason in rows[0][0]]


@pytest.fixture
def site(engine: Engine, database_url: str, broker_url: str, tmp_path: Path) -> WorkerSite:
    return WorkerSite(engine, database_url, broker_url, tmp_path)


def test_a_head_ct_without_a_model_leaves_a_page_and_rows(site: WorkerSite) -> None:
    site.worker.analyse(site.receive(head_ct()))
    assert site.rows("select state, attempt, last_error from revisions") == [("analysed", 1, None)]
    assert site.rows("select outcome, triage, head_meant from analyses") == [("not_eligible", "none", True)]
    assert site.codes() == ["no_model"]
    assert site.rows("select taken, code, modality from series_verdicts") == [(False, "no_model", "CT")]
    ((kind, path, size),) = site.rows("select kind, path, size_bytes from result_objects")
    file = site.storage.root / path
    assert (kind, file.stat().st_size) == ("page", size)
    assert dcmread(file).StudyInstanceUID == STUDY
    assert Evidence.from_bytes(site.storage.evidence(1).read_bytes()).slices == ()


def test_the_page_waits_for_those_who_want_it_and_their_bell_is_rung(site: WorkerSite) -> None:
    site.worker.analyse(site.receive(head_ct()))
    assert site.rows("select destination, state from deliveries") == [("pacs", "waiting")]
    assert site.broker.llen("delivery") == 1


def test_results_for_a_destination_that_holds_wait_for_somebody(site: WorkerSite) -> None:
    settings = site.worker.settings.model_dump()
    settings["destination"][0]["hold"] = True
    settings["destination"][1]["report_unanalysed"] = "all"
    site.worker.settings = Settings.model_validate(settings)
    site.worker.analyse(site.receive(head_ct()))
    assert sorted(site.rows("select destination, state from deliveries")) == [
        ("archive", "waiting"), ("pacs", "held"),
    ]  # fmt: skip


def test_no_broker_changes_nothing(site: WorkerSite) -> None:
    settings = site.worker.settings.model_copy(
        update={"broker": type(site.worker.settings.broker)(url="redis://127.0.0.1:1/0")}
    )
    Worker(settings, celery_app(settings)).analyse(site.receive(head_ct()))
    assert site.rows("select state from deliveries") == [("waiting",)]


def test_a_bell_that_rings_twice_is_answered_once(site: WorkerSite) -> None:
    revision_id = site.receive(head_ct())
    site.worker.analyse(revision_id)
    site.worker.analyse(revision_id)
    site.worker.analyse(revision_id + 1000)
    assert site.rows("select attempt from revisions") == [(1,)]
    assert site.rows("select count(*) from analyses") == [(1,)]


def test_an_attempt_that_breaks_is_given_back_with_its_traceback(site: WorkerSite) -> None:
    site.worker.analyse(site.receive(head_mr()))  # whose weights cannot be loaded
    ((state, attempt, owner, lease, error),) = site.rows(
        "select state, attempt, owner, lease_until, last_error from revisions"
    )
    assert (state, attempt, owner, lease) == ("ready", 1, None, None)
    assert error.startswith("Traceback")
    assert "BadWeights: " in error.splitlines()[-1]
    assert site.rows("select count(*) from analyses") == [(0,)]
    assert site.rows("select detail ->> 'attempt' from events where kind = 'attempt_failed'") == [("1",)]


def test_after_the_last_attempt_a_study_ends_failed_with_a_page(site: WorkerSite) -> None:
    revision_id = site.receive(head_mr())
    for _ in range(4):
        site.worker.analyse(revision_id)
    ((state, attempt, error),) = site.rows("select state, attempt, last_error from revisions")
    assert (state, attempt) == ("failed", 3)
    assert "BadWeights" in error
    assert site.rows("select outcome, triage from analyses") == [("failed", "none")]
    assert site.codes() == ["attempts_exhausted"]
    ((kind, path),) = site.rows("select kind, path from result_objects")
    assert kind == "page"
    assert (site.storage.root / path).is_file()
    assert site.rows("select destination, state from deliveries") == [("pacs", "waiting")]


def test_weights_that_broke_after_the_start_still_let_a_study_end_with_its_page(site: WorkerSite) -> None:
    revision_id = site.receive(head_mr())
    (site.worker.settings.worker.weights / "registry.json").unlink()
    for _ in range(3):
        site.worker.analyse(revision_id)
    ((state, error),) = site.rows("select state, last_error from revisions")
    assert state == "failed"
    assert "BadWeights: no model registry" in error
    assert site.rows("select outcome, head_meant from analyses") == [("failed", True)]
    assert site.codes() == ["attempts_exhausted"]
    assert site.rows("select taken, code, modality from series_verdicts") == [
        (False, "attempts_exhausted", "MR")
    ]
    ((kind, path),) = site.rows("select kind, path from result_objects")
    assert (kind, dcmread(site.storage.root / path).StudyInstanceUID) == ("page", STUDY)
    assert site.rows("select destination, state from deliveries") == [("pacs", "waiting")]


def test_the_worker_takes_the_urgent_study_whatever_the_queue_holds(site: WorkerSite) -> None:
    """Its queue is full, so nothing rings for the urgent one; any message has it analysed."""
    with site.engine.begin() as connection:
        backlog_waits(connection, 2000)
    rung_for = 1
    urgent = site.receive(head_ct())
    with site.engine.begin() as connection:
        put_into(connection, Priority.URGENT, study=STUDY)
    app, settings = site.worker.app, site.worker.settings
    for number in range(1, 1001):
        assert ring(app, ANALYSE, number)
    swept = sweep(site.engine, app, settings)
    assert swept is not None
    assert swept.revisions == 0
    site.worker.analyse(rung_for)
    assert site.rows("select id, state from revisions where attempt > 0") == [(urgent, "analysed")]
    assert site.broker.llen("analysis") == 1000  # as many messages as before: none was lost by it


def test_a_study_that_breaks_does_not_stop_the_next(site: WorkerSite) -> None:
    broken = site.receive(head_mr())
    fine = site.receive(head_ct(StudyInstanceUID="2.25.101", SeriesInstanceUID="2.25.201"))
    site.worker.analyse(broken)
    site.worker.analyse(fine)
    assert sorted(site.rows("select state from revisions")) == [("analysed",), ("ready",)]


def test_instances_that_are_not_selected_change_nothing(site: WorkerSite) -> None:
    site.worker.analyse(site.receive(head_ct()))
    scout = head_ct(
        SeriesInstanceUID="2.25.202",
        SeriesDescription="SCOUT",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )[:1]
    site.worker.analyse(site.receive(scout))
    assert site.rows("select number, state from revisions order by number") == [
        (1, "analysed"),
        (2, "unchanged"),
    ]
    assert site.rows("select count(*) from result_objects") == [(1,)]


def test_what_no_model_could_read_is_looked_at_once_there_is_one(site: WorkerSite, tmp_path: Path) -> None:
    site.worker.analyse(site.receive(head_ct()))
    weights = tmp_path / "weights-with-ct"
    weights.mkdir()
    updated = read_registry(write_weights(weights, modality="CT"))
    site.worker.__dict__["registry"] = updated  # as after an update of the weights and a new start
    scout = head_ct(SeriesInstanceUID="2.25.202", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])[:1]
    site.worker.analyse(site.receive(scout))
    states = site.rows("select state from revisions order by number")
    assert states == [("analysed",), ("analysed",)]


def _again(site: WorkerSite, study_id: int = 1) -> int:
    with site.engine.begin() as connection:
        made = repeat.reprocess(connection, study_id, reason="asked for")
    assert made.revision_id is not None
    return made.revision_id


def test_a_study_that_is_reprocessed_is_analysed_afresh_and_its_objects_are_new(site: WorkerSite) -> None:
    site.worker.analyse(site.receive(head_ct()))
    site.worker.analyse(_again(site))
    assert site.rows("select number, state, superseded from revisions order by number") == [
        (1, "analysed", True),
        (2, "analysed", False),
    ]
    assert len(site.rows("select distinct sop_instance_uid from result_objects")) == 2
    assert site.rows("select state from deliveries order by id") == [("given_up",), ("waiting",)]


@pytest.mark.parametrize("way", ["reprocessed", "sent once more"])
def test_a_study_that_failed_is_analysed_once_its_cause_is_gone(site: WorkerSite, way: str) -> None:
    slices = head_ct()
    site.worker.analyse(site.receive(slices))
    scout = head_ct(SeriesInstanceUID="2.25.202", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])[:1]
    revision_id = site.receive(scout)
    store = site.storage.root / "store"
    aside = store.rename(site.storage.root / "aside")
    for _ in range(3):
        site.worker.analyse(revision_id)
        site.expire()
    with site.engine.begin() as connection:
        leases.fail_abandoned(connection, attempts=3)
    assert site.rows("select state from revisions order by number") == [("analysed",), ("failed",)]
    aside.rename(store)
    site.worker.analyse(_again(site) if way == "reprocessed" else site.receive(slices))
    # The same images as those of the first revision, and yet an answer: the last word was a failure.
    assert site.rows("select state from revisions order by number")[2:] == [("analysed",)]
    assert site.rows("select outcome from study_results") == [("not_eligible",)]


@pytest.mark.usefixtures("anybody_may_read")
def test_nobody_else_on_the_host_may_read_what_is_written(site: WorkerSite) -> None:
    site.worker.analyse(site.receive(head_ct()))
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in site.storage.root.rglob("*")}
    assert any(path.suffix == ".npz" for path in modes)
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    made = ("evidence", "results")
    assert {mode for path, mode in modes.items() if path.is_dir() and not {*path.parts}.isdisjoint(made)} == {
        0o700
    }


@pytest.fixture
def anybody_may_read() -> Iterator[None]:
    """A umask that takes no right away, as some services have it."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_selected_instance_that_comes_late_is_analysed(site: WorkerSite) -> None:
    slices = head_ct()
    site.worker.analyse(site.receive(slices[:-1]))
    site.worker.analyse(site.receive(slices[-1:]))
    assert site.rows("select state, superseded from revisions order by number") == [
        ("analysed", True),
        ("analysed", False),
    ]
    uids = site.rows("select distinct sop_instance_uid from result_objects")
    assert len(uids) == 2
    assert site.rows("select state from deliveries order by id") == [("given_up",), ("waiting",)]


def _with_theft(site: WorkerSite) -> Callable[..., Any]:
    """Another worker takes the revision while this one builds its results."""

    def robbed(*parts: Any, **more: Any) -> Any:
        with site.engine.begin() as connection:
            connection.execute(text("update revisions set token = token + 1, owner = 'thief'"))
        return build(*parts, **more)

    return robbed


def test_a_worker_that_lost_its_lease_records_nothing(
    site: WorkerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.attempt.build", _with_theft(site))
    site.worker.analyse(site.receive(head_ct()))
    assert site.rows("select state, owner, last_error from revisions") == [("analysing", "thief", None)]
    assert site.rows("select count(*) from analyses") == [(0,)]
    assert site.broker.llen("delivery") == 0


def test_results_are_built_by_the_site_s_choices_and_name_the_report_that_they_replace(
    site: WorkerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def noted(*parts: Any, **choices: Any) -> Any:
        """As if a report were made, too."""
        asked.append(choices)
        (page,) = build(*parts, **choices).objects
        report = replace(page, kind=ResultKind.REPORT, sop_instance_uid=f"{page.sop_instance_uid}.1")
        return Results((page, report))

    monkeypatch.setattr("worker.attempt.build", noted)
    update = {"results": ResultsSettings(claims=Claims.TRIAGE_ONLY)}
    site.worker.settings = site.worker.settings.model_copy(update=update)
    slices = head_ct()
    site.worker.analyse(site.receive(slices[:-1]))
    site.worker.analyse(site.receive(slices[-1:]))
    ((uid,),) = site.rows(
        "select sop_instance_uid from result_objects where kind = 'report' order by id limit 1"
    )
    first, second = asked
    assert (first["claims"], first["kinds"]) == (Claims.TRIAGE_ONLY, USUAL_KINDS)
    assert first["previous"] == ()
    assert [report.sop_instance_uid for report in second["previous"]] == [uid]


def test_an_identity_conflict_ends_without_anything_to_send(site: WorkerSite) -> None:
    slices = head_ct(PatientID="P1")
    slices[3].PatientID = "P2"
    site.worker.analyse(site.receive(slices))
    assert site.rows("select outcome from analyses") == [("not_eligible",)]
    assert site.codes() == ["identity_conflict"]
    assert site.rows("select count(*) from deliveries") == [(0,)]


def test_a_storage_that_is_away_is_waited_for(site: WorkerSite) -> None:
    revision_id = site.receive(head_ct())
    store = site.storage.root / "store"
    aside = store.rename(site.storage.root / "aside")
    site.worker.analyse(revision_id)
    ((error, waits),) = site.rows("select last_error, lease_until > now() from revisions")
    assert "FileNotFoundError" in error
    assert waits
    aside.rename(store)
    site.worker.analyse(revision_id)  # too early
    assert site.rows("select attempt, state from revisions") == [(1, "analysing")]
    site.expire()
    site.worker.analyse(revision_id)
    assert site.rows("select attempt, state from revisions") == [(2, "analysed")]
