"""Which studies a merge finds, and which instances of them it concerns."""

from dataclasses import replace

from sqlalchemy import Connection, Engine, select, text

from db.corrections.merges import merge, studies_of
from db.studies.instances import record_instances
from db.tables import Instance, Study
from neurotriage.core.patient import PatientIdentity, PatientMerge
from neurotriage.dicom.headers import InstanceHeader
from neurotriage.dicom.patients import patient_key
from tests.db.rows import RECEPTION, header


def _of(study: str, patient: str, number: int = 1, issuer: str = "") -> InstanceHeader:
    one = header(number, study=study, patient=patient)
    return replace(one, patient_key=patient_key(patient, "", ""), issuer_of_patient_id=issuer)


def _come(connection: Connection, *headers: InstanceHeader) -> None:
    for one in headers:
        record_instances(connection, [(one, RECEPTION)])


def _merge(connection: Connection, prior: str, to: str, *issuers: str) -> list[str]:
    """The UIDs of the corrected studies."""
    merges = [PatientMerge(prior, frozenset(issuers), PatientIdentity(to))]
    ids = merge(connection, merges, made_by="test", reason="")
    return sorted(connection.execute(select(Study.study_instance_uid).where(Study.id.in_(ids))).scalars())


def test_an_id_of_another_issuer_is_another_patients_where_both_sides_state_one(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, _of("1", "A", issuer="CLINIC"), _of("2", "A", issuer="OTHER"), _of("3", "A"))
        assert _merge(connection, "A", "B", "CLINIC", "1.2.3") == ["1", "3"]
        assert _merge(connection, "A", "B") == ["2"]


def test_the_issuer_of_a_corrected_patient_is_that_of_the_correction(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, _of("1", "A", issuer="CLINIC"))
        to = PatientIdentity("B", "OTHER")
        merge(connection, [PatientMerge("A", frozenset(), to)], made_by="test", reason="")
        assert _merge(connection, "B", "C", "CLINIC") == []
        assert _merge(connection, "B", "C", "OTHER") == ["1"]


def test_of_a_study_with_two_patients_only_the_prior_ones_images_change(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, _of("1", "X"), _of("1", "A", 2))
        assert _merge(connection, "A", "B") == ["1"]
        by = connection.execute(select(Instance.corrected_by).order_by(Instance.id)).scalars().all()
        assert [one is None for one in by] == [True, False]


def test_the_same_merge_again_changes_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, _of("1", "A"))
        assert _merge(connection, "A", "B") == ["1"]
        assert _merge(connection, " A ", "B") == []


def test_keys_of_older_versions_are_found(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, header(1, study="1", patient="A"))  # a hash of the ID alone
        assert _merge(connection, "A", "B") == ["1"]


def test_a_patient_is_found_by_an_index_among_many_instances(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, _of("1", "A"))
        connection.execute(
            text(
                "insert into instances (study_id, series_id, sop_instance_uid, sop_class_uid, digest, "
                "size_bytes, patient_key, own_result, counts, peer_ae_title, peer_host, received_at) "
                "select study_id, series_id, '2.25.' || n, '', '', 0, md5((n / 500)::text) || '....', false, "
                "true, '', '', now() from instances, generate_series(1, 50000) n"
            )
        )
        connection.execute(text("analyze instances"))
        before = _scans(connection)
        assert len(studies_of(connection, "A")) == 1
        plan = connection.execute(
            text("explain select study_id from instances where split_part(patient_key, '.', 1) = 'x'")
        ).scalars()
        assert "ix_instances_patient_id" in "".join(plan)
        assert _scans(connection) == before


def _scans(connection: Connection) -> int:
    """How often the whole table was read in this transaction."""
    scans = text("select pg_stat_get_xact_numscans('instances'::regclass)")
    return int(connection.execute(scans).scalar_one())
