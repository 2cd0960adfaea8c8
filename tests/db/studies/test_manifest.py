"""A frozen study is read as it was frozen, in an order of its own."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import NoResultFound

from db.studies import assembly
from db.studies.instances import record_instances
from db.studies.manifest import read_manifest
from neurotriage.core.storage import Storage
from tests.db.rows import RECEPTION, header, ready_revision, receive


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def test_instances_are_in_the_order_of_their_numbers_and_those_without_one_last(
    engine: Engine, storage: Storage
) -> None:
    came = [
        replace(header(5), instance_number=None),
        replace(header(4), instance_number=2),
        replace(header(3), instance_number=1),
        replace(header(2), instance_number=2),
        replace(header(1), instance_number=None),
    ]
    with engine.begin() as connection:
        record_instances(connection, [(instance, RECEPTION) for instance in came])
        manifest = read_manifest(connection, ready_revision(connection, 6), storage)
    (series,) = manifest.series
    uids = [instance.sop_instance_uid for instance in series.instances]
    assert uids == [f"1.2.3.9.{number}" for number in (3, 2, 4, 6, 1, 5)]
    first = series.instances[0]
    assert first.path == storage.stored_instance(first.digest)


def test_series_are_in_the_order_of_their_uids_whenever_they_came(engine: Engine, storage: Storage) -> None:
    with engine.begin() as connection:
        for number, (uid, modality) in enumerate((("1.2.3.8", "CT"), ("1.2.3.2", "MR"), ("1.2.3.8", "CT"))):
            instance = replace(header(number), series_instance_uid=uid, modality=modality)
            record_instances(connection, [(instance, RECEPTION)])
        manifest = read_manifest(connection, ready_revision(connection, 9), storage)
    series = [(item.series_instance_uid, item.modality, len(item.instances)) for item in manifest.series]
    assert series == [("1.2.3.1", "MR", 1), ("1.2.3.2", "MR", 1), ("1.2.3.8", "CT", 2)]


def test_a_revision_keeps_what_was_frozen_whatever_comes_later(engine: Engine, storage: Storage) -> None:
    with engine.begin() as connection:
        first = ready_revision(connection, 1)
        receive(connection, 1, study="1.2.4")
        second = ready_revision(connection, 2)
        receive(connection, 3)
        manifests = [read_manifest(connection, revision_id, storage) for revision_id in (first, second)]
    assert [manifest.revision for manifest in manifests] == [1, 2]
    counts = [len(manifest.series[0].instances) for manifest in manifests]
    assert counts == [1, 2]
    assert {manifest.study_instance_uid for manifest in manifests} == {"1.2.3"}


def test_a_conflict_of_identity_comes_with_the_study(engine: Engine, storage: Storage) -> None:
    with engine.begin() as connection:
        study_id = receive(connection, 1)
        record_instances(connection, [(header(2, patient="P2"), RECEPTION)])
        revision_id = assembly.freeze(connection, study_id, idle_s=0, completed_by="quiet")
        assert revision_id is not None
        manifest = read_manifest(connection, revision_id, storage)
        assert manifest.conflict is not None
        assert (manifest.conflict.code, manifest.completed_by) == ("identity_conflict", "quiet")
        connection.execute(text("update revisions set conflict = null"))
        assert read_manifest(connection, revision_id, storage).conflict is None


def test_an_unknown_revision_is_an_error(engine: Engine, storage: Storage) -> None:
    with engine.begin() as connection, pytest.raises(NoResultFound):
        read_manifest(connection, 1, storage)
