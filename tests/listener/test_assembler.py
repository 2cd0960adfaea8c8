"""From received images to revisions: a first look, and the whole study by its released associations."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from sqlalchemy import Engine

from db.studies.arrivals import StudyArrivals
from dicom_listener.assembly import Assembler
from dicom_listener.assembly import assembler as assembler_module
from dicom_listener.assembly.study import StudyFacts
from dicom_listener.ingest.ingest import Ingest
from dicom_listener.ingest.notes import ingest_notes
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.spool import AssociationInfo, Spool
from neurotriage.core.settings import Settings
from tests.conftest import until
from tests.listener.conftest import encoded, instance, rows, spooled

ONE = AssociationInfo("SENDER", "NEUROTRIAGE", "127.0.0.1", "one")
MADE = "select number, completed_by from revisions order by number"
RULES = {"quiet_s": 600, "released_quiet_s": 3}


def _receive(
    spool: Spool,
    ingest: Ingest,
    numbers: Iterable[int],
    series: int = 1,
    parties: AssociationInfo = ONE,
) -> None:
    for number in numbers:
        image = instance(
            number=1000 * series + number,
            SeriesInstanceUID=f"1.2.3.{series}",
            ImagePositionPatient=[0, 0, 5 * number],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            BodyPartExamined="HEAD",
        )
        spool.receive(
            parties,
            sop_class_uid=MRImageStorage,
            sop_instance_uid=image.SOPInstanceUID,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            data_set=encoded(image),
        )
    ingest.drain()


def _assembler(engine: Engine, **rules: object) -> Assembler:
    return Assembler(engine, Settings.model_validate({"assembly": {**RULES, **rules}}))


def _step(assembler: Assembler, ingest: Ingest) -> list[int]:
    """As the ingester does: the spool is listed anew before studies are judged."""
    ingest.drain()
    return assembler.step(ingest.backlog())


def test_a_head_is_looked_at_early_and_the_whole_study_once_its_association_is_released(
    engine: Engine, spool: Spool, ingest: Ingest, quarantine: Quarantine
) -> None:
    assembler = _assembler(engine)
    _receive(spool, ingest, (1, 2, 4), series=2)  # open, as long as its third image lacks
    _receive(spool, ingest, range(1, 21))
    until(lambda: _step(assembler, ingest) == [1], 20)
    assert rows(engine, MADE) == [(1, "early")]
    assert rows(engine, "select state from studies") == [("open",)]
    assert _step(assembler, ingest) == []
    spool.note_ended(ONE, released=True)
    ingest_notes(engine, spool, quarantine)
    until(lambda: _step(assembler, ingest) == [2], 20)
    assert rows(engine, MADE) == [(1, "early"), (2, "released")]
    query = "select count(*) from revision_instances group by revision_id order by revision_id"
    assert rows(engine, query) == [(20,), (23,)]
    (detail,) = rows(engine, "select detail ->> 'evidence' from events where kind = 'quiet'")
    assert detail == ("1 association released, and nothing came for 3 s",)


def test_the_end_of_each_association_is_seen_also_of_those_that_end_later(
    engine: Engine, spool: Spool, ingest: Ingest, quarantine: Quarantine
) -> None:
    assembler = _assembler(engine, first_looks=0, released_quiet_s=0.2)
    parties = [replace(ONE, association_id=name) for name in "ab"]
    for number, one in enumerate(parties):
        _receive(spool, ingest, (2 * number, 2 * number + 1), parties=one)
    for one in parties:
        assert _step(assembler, ingest) == []
        spool.note_ended(one, released=True)
        ingest_notes(engine, spool, quarantine)
    until(lambda: _step(assembler, ingest) == [1], 20)
    assert rows(engine, MADE) == [(1, "released")]


def test_a_study_whose_association_was_aborted_waits_for_its_timer(
    engine: Engine, spool: Spool, ingest: Ingest, quarantine: Quarantine
) -> None:
    assembler = _assembler(engine, first_looks=0)
    _receive(spool, ingest, range(1, 21, 3))
    _receive(spool, ingest, range(2, 3))
    spool.note_ended(ONE, released=False)
    ingest_notes(engine, spool, quarantine)
    with engine.begin() as connection:
        connection.exec_driver_sql("update studies set last_received_at = now() - interval '599 s'")
    assert assembler.step() == []
    with engine.begin() as connection:
        connection.exec_driver_sql("update studies set last_received_at = now() - interval '601 s'")
    until(lambda: assembler.step() == [1], 20)
    assert rows(engine, MADE) == [(1, "quiet")]


def test_an_error_on_one_study_stops_no_other(
    engine: Engine, spool: Spool, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for study in ("1.2.3", "1.2.4", "1.2.5"):
        spooled(spool, instance(study))
    ingest.drain()
    facts_of = assembler_module.study_facts

    def facts(known: StudyArrivals) -> StudyFacts:
        if known.study_instance_uid == "1.2.4":
            raise ValueError("one of ours")
        return facts_of(known)

    monkeypatch.setattr(assembler_module, "study_facts", facts)
    assembler = _assembler(engine, quiet_s=0.2)

    def freeze() -> bool:
        with suppress(ValueError):
            _step(assembler, ingest)
        return len(rows(engine, "select id from revisions")) == 2

    until(freeze, 20)
    assert rows(engine, "select study_instance_uid from studies where state = 'open'") == [("1.2.4",)]
