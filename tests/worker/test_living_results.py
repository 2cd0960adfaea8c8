"""Results live on: other claims, another model and a recall each make a revision that replaces the last."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import FileDataset, dcmread

from db.studies import recall
from neurotriage.core.evidence import Evidence
from neurotriage.core.settings import ResultsSettings, Settings
from neurotriage.core.values import (
    Analysis,
    Claims,
    Outcome,
    Prediction,
    Reason,
    ReasonCode,
    SeriesDecision,
    SliceScores,
)
from neurotriage.demo.pacs import StandInPacs
from tests.worker.studies import head_ct
from tests.worker.test_tasks import WorkerSite, site
from worker.analysis import Selection, failure
from worker.delivery import deliver

__all__ = ["site"]  # the fixture

OLD, NEW = ("mr-test", "1"), ("mr-test", "2")


class Stub:
    """A model that says no tumour; what it is called can change."""

    def __init__(self) -> None:
        self.identity = OLD

    def __call__(self, selection: Selection, *_: Any) -> tuple[Analysis, Evidence]:
        name, version = self.identity
        at = datetime.fromisoformat("2026-01-02T03:04:05+00:00")
        base = failure(selection, Reason(ReasonCode.NO_TUMOUR, "no tumour"), at)
        prediction = Prediction(name, version, version * 64, "CT", {"tumour": 0.1}, 0.5)
        (judged,) = selection.taken
        slices = (0.1,) * len(judged.instances)
        decision = SeriesDecision(
            judged.series_instance_uid, Outcome.ABSENT, base.reasons[0], SliceScores(slices, slices)
        )
        absent = replace(base, outcome=Outcome.ABSENT, predictions=(prediction,), series=(decision,))
        return absent, Evidence()


@pytest.fixture
def model(site: WorkerSite, monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub()
    monkeypatch.setattr("worker.attempt.analyse", stub)
    site.worker.__dict__["installed_sha256s"] = frozenset({"1" * 64})
    return stub


def _late_scout(number: int) -> list[Any]:
    """An instance that is not selected: it makes a revision of the same analysed instances."""
    return head_ct(SeriesInstanceUID=f"2.25.20{number}", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])[:1]


def _states(site: WorkerSite) -> list[tuple[str, bool]]:
    return [(row[0], row[1]) for row in site.rows("select state, superseded from revisions order by number")]


def test_other_claims_alone_make_the_results_anew(site: WorkerSite, model: Stub) -> None:
    site.worker.analyse(site.receive(head_ct()))
    site.worker.analyse(site.receive(_late_scout(2)))
    assert _states(site) == [("analysed", False), ("unchanged", False)]
    update = {"results": ResultsSettings(claims=Claims.TRIAGE_ONLY)}
    site.worker.settings = site.worker.settings.model_copy(update=update)
    site.worker.analyse(site.receive(_late_scout(3)))
    assert [state for state, _ in _states(site)] == ["analysed", "unchanged", "analysed"]
    assert site.rows("select claims from analyses order by id") == [("research",), ("triage-only",)]
    uids = site.rows("select distinct sop_instance_uid from result_objects where kind = 'page'")
    assert len(uids) == 2


def _recall(site: WorkerSite, model: Stub) -> None:
    """The old model is replaced by the new one, and recalled."""
    model.identity = NEW
    site.worker.__dict__["installed_sha256s"] = frozenset({"2" * 64})
    with site.engine.begin() as connection:
        produced = recall.produced(connection, *OLD)
        again = [recall.analyse_again(connection, item.study_id, *OLD) for item in produced]
    for revision_id in again:
        assert revision_id is not None
        site.worker.analyse(revision_id)


def _wants_notes(site: WorkerSite, *names: str) -> None:
    settings = site.worker.settings.model_dump()
    for destination in settings["destination"]:
        destination["rejection_notes"] = destination["name"] in names
    site.worker.settings = Settings.model_validate(settings)


def _store(site: WorkerSite) -> None:
    with site.engine.begin() as connection:
        connection.exec_driver_sql("update deliveries set state = 'stored' where state = 'waiting'")


NOTES = (
    "select d.destination, o.path from deliveries d join result_objects o on o.id = d.result_object_id "
    "where o.kind = 'rejection'"
)


def test_a_recalled_study_is_analysed_by_the_new_model_and_the_old_results_are_withdrawn(
    site: WorkerSite, model: Stub
) -> None:
    _wants_notes(site, "pacs")
    site.worker.analyse(site.receive(head_ct()))
    _store(site)
    old = {row[0] for row in site.rows("select sop_instance_uid from result_objects")}
    _recall(site, model)
    assert _states(site) == [("analysed", True), ("analysed", False)]
    versions = "select version from predictions p join model_versions m on m.id = p.model_version_id"
    assert site.rows(f"{versions} order by p.id") == [("1",), ("2",)]
    ((destination, path),) = site.rows(NOTES)
    assert destination == "pacs"
    note = dcmread(site.storage.root / path)
    named = {
        str(item.ReferencedSOPInstanceUID)
        for series in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert named == old


def test_the_report_of_a_recall_reaches_the_archive_and_names_the_one_it_replaces(
    site: WorkerSite, model: Stub, tmp_path: Path
) -> None:
    def send() -> list[FileDataset]:
        deliver(site.engine, site.worker.settings, "pacs", owner="test")
        return [dcmread(path) for path in pacs.received().values()]

    _wants_notes(site, "pacs")
    with StandInPacs(tmp_path / "pacs") as pacs:
        settings = site.worker.settings.model_dump()
        settings["destination"][0]["port"] = pacs.port
        site.worker.settings = Settings.model_validate(settings)
        site.worker.analyse(site.receive(head_ct()))
        (old,) = (d for d in send() if d.Modality == "SR")
        assert "PredecessorDocumentsSequence" not in old
        _recall(site, model)
        arrived = send()
    _, new = (d for d in arrived if d.Modality == "SR")
    (study,) = new.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (replaced,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == old.StudyInstanceUID
    assert series.SeriesInstanceUID == old.SeriesInstanceUID
    assert replaced.ReferencedSOPClassUID == old.SOPClassUID
    assert replaced.ReferencedSOPInstanceUID == old.SOPInstanceUID
    (note,) = (d for d in arrived if d.Modality == "KO")
    rejected = {
        item.ReferencedSOPInstanceUID
        for series in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert old.SOPInstanceUID in rejected
    assert new.SOPInstanceUID not in rejected


def test_no_note_goes_where_nothing_arrived_or_none_is_wanted(site: WorkerSite, model: Stub) -> None:
    _wants_notes(site, "archive")
    site.worker.analyse(site.receive(head_ct()))
    with site.engine.begin() as connection:
        connection.exec_driver_sql("update deliveries set state = 'stored' where destination = 'pacs'")
    _recall(site, model)
    assert site.rows(NOTES) == []


def test_a_recall_while_the_model_is_the_same_changes_nothing(site: WorkerSite, model: Stub) -> None:
    site.worker.analyse(site.receive(head_ct()))
    with site.engine.begin() as connection:
        (item,) = recall.produced(connection, *OLD)
        revision_id = recall.analyse_again(connection, item.study_id, *OLD)
    assert revision_id is not None
    site.worker.analyse(revision_id)
    assert _states(site) == [("analysed", False), ("unchanged", False)]
