"""Rows for tests: instances, revisions and analyses, through the doors that the product uses."""

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection, Engine, select, text, update

from db.delivery import deliveries, destinations
from db.delivery.deliveries import DueDelivery
from db.delivery.destinations import SendingRight
from db.studies import analyses, assembly, leases
from db.studies.instances import record_instances
from db.studies.leases import Lease
from db.studies.objects import WrittenObject
from db.tables import Event, Study
from neurotriage.core.priority import Priority
from neurotriage.core.reception import Reception
from neurotriage.core.states import DeliveryState
from neurotriage.core.values import (
    Analysis,
    Finding,
    NoteKind,
    Outcome,
    Prediction,
    Reason,
    ReasonCode,
    ResultKind,
    ResultObject,
    SeriesVerdict,
    Side,
    Triage,
)
from neurotriage.dicom.headers import InstanceHeader

STUDY = "1.2.3"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECEPTION = Reception("SCANNER", "127.0.0.1", NOW, 1000)


def header(
    number: int, *, study: str = STUDY, content: str = "", patient: str = "P1", claims_ours: bool = False
) -> InstanceHeader:
    """The header of instance ``number``; other ``content`` means other bytes under the same UID."""
    return InstanceHeader(
        path=Path("unused"),
        digest=sha256(f"{study} {number} {content}".encode()).hexdigest(),
        sop_instance_uid=f"{study}.9.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
        modality="MR",
        patient_id=patient,
        issuer_of_patient_id="",
        patient_key=sha256(patient.encode()).hexdigest(),
        accession_number="A1",
        study_date="20260102",
        study_description="",
        series_description="T1",
        series_number=1,
        instance_number=number,
        body_part="HEAD",
        manufacturer="MAKER",
        model_name="Scanner 3T",
        station_name="MR1",
        claims_ours=claims_ours,
        creator_uid="",
    )


def receive(connection: Connection, *numbers: int, study: str = STUDY) -> int:
    """Receive instances of one study; its id."""
    for number in numbers:
        record_instances(connection, [(header(number, study=study), RECEPTION)])
    return connection.execute(select(Study.id).where(Study.study_instance_uid == study)).scalar_one()


def ready_revision(connection: Connection, *numbers: int, study: str = STUDY) -> int:
    """A revision that waits for a worker; its id."""
    study_id = receive(connection, *(numbers or (1, 2)), study=study)
    revision_id = assembly.freeze(connection, study_id, idle_s=0, completed_by="quiet")
    assert revision_id is not None
    return revision_id


def put_into(connection: Connection, priority: Priority, *, study: str = STUDY) -> None:
    """Let a study be of this class."""
    connection.execute(update(Study).where(Study.study_instance_uid == study).values(priority=priority))


def backlog_waits(connection: Connection, count: int) -> None:
    """So many studies of the backlog, each with a revision that waits."""
    connection.execute(
        text(
            "insert into studies (study_instance_uid, state, patient_id, issuer_of_patient_id, "
            "accession_number, study_date, description, first_received_at, last_received_at, priority, "
            "priority_basis) select '2.25.7.' || n, 'quiet', '', '', '', '', '', now(), now(), 'backlog', "
            "'peer' from generate_series(1, :count) n"
        ),
        {"count": count},
    )
    connection.execute(
        text(
            "insert into revisions (study_id, number, state, digest, completed_by) "
            "select id, 1, 'ready', '', 'quiet' from studies where study_instance_uid like '2.25.7.%' "
            "order by id"
        )
    )


def claimed(connection: Connection, revision_id: int, *, owner: str = "w1", lease_s: float = 60) -> Lease:
    held = leases.claim(connection, revision_id, owner=owner, lease_s=lease_s)
    assert held is not None
    return held


def analysis(outcome: Outcome = Outcome.PRESENT, *, digest: str = "d1", revision: int = 1) -> Analysis:
    found = outcome is Outcome.PRESENT
    return Analysis(
        study_instance_uid=STUDY,
        revision=revision,
        analysed_at=NOW,
        outcome=outcome,
        triage=Triage.URGENT if found else Triage.NONE,
        reasons=(Reason(ReasonCode.TUMOUR if found else ReasonCode.NO_MODEL, "because"),),
        verdicts=(
            SeriesVerdict(f"{STUDY}.1", "MR", "T1", True, Reason(ReasonCode.ELIGIBLE, "fits"), "", True),
        ),
        predictions=(Prediction("mr", "1", "ab" * 32, "MR", {"tumour": 0.9}, 0.5),),
        findings=(
            Finding(
                1,
                f"{STUDY}.1",
                f"{STUDY}.9.1",
                None,
                0,
                (1, 2, 3, 4),
                ((1, 2), (3, 4), (1, 2)),
                9.5,
                Side.LEFT,
                0.9,
            ),
        )
        if found
        else (),
        series=(),
        input_digest=digest,
        software_version="0",
    )


def written(number: int, *destinations: str) -> WrittenObject:
    """A result object that lies somewhere."""
    result = ResultObject(
        ResultKind.PAGE, number, "1.2.840.10008.5.1.4.1.1.7", f"2.25.{number}", "2.25.7", b"DICOM"
    )
    return WrittenObject(result, Path(f"results/{number}.dcm"), destinations)


def analysed(connection: Connection, held: Lease, *objects: WrittenObject) -> None:
    assert analyses.record_analysis(connection, held, analysis(), NOW, objects)


def sending_right(connection: Connection, destination: str = "pacs", *, owner: str = "w") -> SendingRight:
    right = destinations.take(connection, destination, owner=owner, lease_s=60)
    assert right is not None
    return right


def stored(connection: Connection, right: SendingRight, *, prove: bool = True) -> list[DueDelivery]:
    """Send everything that is due at a destination, with success; what was sent."""
    sent = deliveries.due(connection, right.destination)
    for delivery in sent:
        assert deliveries.begin(connection, right, delivery.id)
        assert deliveries.settle(connection, right, delivery, DeliveryState.STORED, "stored", prove=prove)
    return sent


def rejection(number: int, *names: str) -> WrittenObject:
    """A rejection note, as a recall makes it."""
    note = written(number, *names)
    return replace(note, result=replace(note.result, kind=NoteKind.REJECTION))


def expire_leases(connection: Connection) -> None:
    """Every lease ran out a second ago, by the database's clock."""
    for table in ("revisions", "destination_leases"):
        connection.execute(
            text(f"update {table} set lease_until = clock_timestamp() - interval '1 second'")  # noqa: S608
        )


def event_kinds(connection: Connection) -> list[str]:
    return list(connection.execute(select(Event.kind).order_by(Event.id)).scalars())


def study_state(engine: Engine) -> str:
    """The state of the only study."""
    with engine.connect() as connection:
        return str(connection.execute(select(Study.state)).scalar_one())
