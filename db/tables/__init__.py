"""The tables. Comments are written for the admin who reads them in psql (``\\d+ studies``)."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text,
        float: Double,
        dict[str, Any]: JSONB,
    }


def _key() -> Mapped[int]:
    return mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="our own number of the row"
    )


def _parent(column: str) -> Mapped[int]:
    return mapped_column(BigInteger, ForeignKey(column), index=True, comment=f"see {column}")


class Study(Base):
    __tablename__ = "studies"
    __table_args__ = (
        Index("ix_studies_open", "last_received_at", postgresql_where=text("state = 'open'")),
        {"comment": "One row per StudyInstanceUID received"},
    )

    id: Mapped[int] = _key()
    study_instance_uid: Mapped[str] = mapped_column(unique=True, comment="(0020,000D)")
    state: Mapped[str] = mapped_column(comment="open: instances still arrive; quiet: judged complete")
    patient_id: Mapped[str] = mapped_column(comment="(0010,0020) of the first instance; empty where absent")
    issuer_of_patient_id: Mapped[str] = mapped_column(comment="(0010,0021); empty where absent")
    accession_number: Mapped[str] = mapped_column(index=True, comment="(0008,0050); empty where absent")
    study_date: Mapped[str] = mapped_column(comment="as in the header (YYYYMMDD), empty where absent")
    description: Mapped[str] = mapped_column(comment="(0008,1030); empty where absent")
    conflict: Mapped[str | None] = mapped_column(comment="why this study must not be analysed, if so")
    first_received_at: Mapped[datetime] = mapped_column(index=True, comment="when its first instance came")
    last_received_at: Mapped[datetime] = mapped_column(
        comment="when its newest instance came, by the clock of this database"
    )


class Series(Base):
    __tablename__ = "series"
    __table_args__ = (
        UniqueConstraint("study_id", "series_instance_uid"),
        {"comment": "One row per series received"},
    )

    id: Mapped[int] = _key()
    study_id: Mapped[int] = _parent("studies.id")
    series_instance_uid: Mapped[str] = mapped_column(comment="(0020,000E)")
    modality: Mapped[str] = mapped_column(comment="(0008,0060)")
    number: Mapped[int | None] = mapped_column(BigInteger, comment="(0020,0011)")
    description: Mapped[str] = mapped_column(comment="(0008,103E); empty where absent")
    body_part: Mapped[str] = mapped_column(comment="(0018,0015); empty where absent")
    manufacturer: Mapped[str] = mapped_column(
        server_default=text("''"), comment="(0008,0070); empty where absent"
    )
    model_name: Mapped[str] = mapped_column(
        server_default=text("''"), comment="(0008,1090); empty where absent"
    )
    station_name: Mapped[str] = mapped_column(
        server_default=text("''"), comment="(0008,1010); empty where absent"
    )


class Instance(Base):
    __tablename__ = "instances"
    __table_args__ = (
        UniqueConstraint("study_id", "sop_instance_uid", "digest"),
        {"comment": "One row per distinct instance received; the bytes lie in the store, by digest"},
    )

    id: Mapped[int] = _key()
    study_id: Mapped[int] = _parent("studies.id")
    series_id: Mapped[int] = _parent("series.id")
    sop_instance_uid: Mapped[str] = mapped_column(index=True, comment="(0008,0018)")
    sop_class_uid: Mapped[str] = mapped_column(comment="(0008,0016)")
    instance_number: Mapped[int | None] = mapped_column(BigInteger, comment="(0020,0013)")
    digest: Mapped[str] = mapped_column(comment="SHA-256 of the data set as received, hex")
    size_bytes: Mapped[int] = mapped_column(BigInteger, comment="of the file in the store")
    patient_key: Mapped[str] = mapped_column(comment="tells patients apart and names nobody")
    own_result: Mapped[bool] = mapped_column(
        comment="a result of ours by our own records, sent back: never opens a study"
    )
    claims_ours: Mapped[bool] = mapped_column(
        server_default=text("false"), comment="names neurotriage as its maker, which anybody can write"
    )
    counts: Mapped[bool] = mapped_column(
        comment="false: another instance with the same SOP Instance UID and other bytes came first"
    )
    times_received: Mapped[int] = mapped_column(
        Integer, server_default=text("1"), comment="how often these bytes came"
    )
    peer_ae_title: Mapped[str] = mapped_column(comment="calling AE title of the sender")
    peer_host: Mapped[str] = mapped_column(comment="network address of the sender")
    received_at: Mapped[datetime] = mapped_column(comment="when it was answered 0x0000")


class Quarantined(Base):
    __tablename__ = "quarantined"
    __table_args__ = ({"comment": "What was received and could not be used; the bytes are kept"},)

    id: Mapped[int] = _key()
    kind: Mapped[str] = mapped_column(
        server_default=text("'instance'"),
        comment="instance; report: of a storage commitment; note: of refused presentation contexts",
    )
    name: Mapped[str] = mapped_column(unique=True, comment="file name in the quarantine folder")
    path: Mapped[str] = mapped_column(comment="where its bytes lie, below the storage root")
    size_bytes: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="of what was received; 0 where not known"
    )
    code: Mapped[str] = mapped_column(comment="reason code, see docs/data-dictionary.md")
    reason: Mapped[str] = mapped_column(comment="why it could not be used, in words")
    peer_ae_title: Mapped[str] = mapped_column(comment="calling AE title of the sender")
    peer_host: Mapped[str] = mapped_column(comment="network address of the sender")
    received_at: Mapped[datetime] = mapped_column(comment="when it was answered 0x0000")
    quarantined_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="when it was set aside"
    )


class RefusedContext(Base):
    __tablename__ = "refused_contexts"
    __table_args__ = ({"comment": "Presentation contexts that peers proposed and we refused"},)

    id: Mapped[int] = _key()
    peer_ae_title: Mapped[str] = mapped_column(comment="calling AE title of the sender")
    peer_host: Mapped[str] = mapped_column(comment="network address of the sender")
    sop_class_uid: Mapped[str] = mapped_column(comment="what it wanted to send")
    transfer_syntaxes: Mapped[str] = mapped_column(comment="the forms in which it offered that")
    times: Mapped[int] = mapped_column(Integer, server_default=text("1"), comment="how often it was refused")
    last_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="when it was last refused")

    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - SQLAlchemy reads it from the class


Index(
    "uq_refused_contexts_what",
    RefusedContext.peer_ae_title,
    RefusedContext.peer_host,
    RefusedContext.sop_class_uid,
    RefusedContext.transfer_syntaxes,
    unique=True,
)


class Revision(Base):
    __tablename__ = "revisions"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        {"comment": "A frozen list of a study's instances, and how far its analysis has come"},
    )

    id: Mapped[int] = _key()
    study_id: Mapped[int] = _parent("studies.id")
    number: Mapped[int] = mapped_column(Integer, comment="1 for the first revision of a study")
    state: Mapped[str] = mapped_column(index=True, comment="ready, analysing, analysed, unchanged or failed")
    superseded: Mapped[bool] = mapped_column(
        server_default=text("false"), comment="a newer revision was analysed"
    )
    digest: Mapped[str] = mapped_column(comment="SHA-256 over the instances, hex")
    completed_by: Mapped[str] = mapped_column(comment="the evidence that completed the study")
    ready_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="when the study was complete"
    )
    rung_at: Mapped[datetime | None] = mapped_column(comment="when the queue was last told")
    owner: Mapped[str | None] = mapped_column(comment="the process that holds the lease")
    attempt: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="how often a worker took it"
    )
    token: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="raised by each claim; a stale holder changes nothing"
    )
    lease_until: Mapped[datetime | None] = mapped_column(comment="until when its worker is believed to live")
    ended_at: Mapped[datetime | None] = mapped_column(comment="when the analysis ended")
    last_error: Mapped[str | None] = mapped_column(comment="traceback of the last failed attempt")


class RevisionInstance(Base):
    __tablename__ = "revision_instances"
    __table_args__ = ({"comment": "Which instances a revision froze"},)

    revision_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("revisions.id"), primary_key=True, comment="the revision"
    )
    instance_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("instances.id"), primary_key=True, index=True, comment="an instance in it"
    )


class AnalysisRow(Base):
    __tablename__ = "analyses"
    __table_args__ = ({"comment": "What was found in a revision"},)

    id: Mapped[int] = _key()
    revision_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("revisions.id"), unique=True, comment="the revision that was analysed"
    )
    study_id: Mapped[int] = _parent("studies.id")
    outcome: Mapped[str] = mapped_column(
        index=True, comment="present, absent, undetermined, poor_quality, incomplete, not_eligible or failed"
    )
    triage: Mapped[str] = mapped_column(comment="urgent, priority, routine or none")
    head_meant: Mapped[bool] = mapped_column(comment="the header speaks of a head CT or MR")
    reasons: Mapped[list[Any]] = mapped_column(JSONB, comment="codes and sentences")
    input_digest: Mapped[str] = mapped_column(comment="SHA-256 over the analysed instances, hex")
    claims: Mapped[str] = mapped_column(
        server_default=text("'research'"), comment="how much the result objects say"
    )
    software_version: Mapped[str] = mapped_column(comment="of neurotriage")
    started_at: Mapped[datetime] = mapped_column(comment="when the attempt that ended it began")
    analysed_at: Mapped[datetime] = mapped_column(comment="when it ended")
    document: Mapped[dict[str, Any]] = mapped_column(comment="the whole analysis, as JSON")


class SeriesVerdictRow(Base):
    __tablename__ = "series_verdicts"
    __table_args__ = ({"comment": "Why each series of a revision was taken or refused"},)

    id: Mapped[int] = _key()
    analysis_id: Mapped[int] = _parent("analyses.id")
    series_instance_uid: Mapped[str] = mapped_column(comment="(0020,000E)")
    modality: Mapped[str] = mapped_column(comment="(0008,0060)")
    description: Mapped[str] = mapped_column(comment="(0008,103E); empty where absent")
    taken: Mapped[bool] = mapped_column(comment="true: analysed; false: refused")
    code: Mapped[str] = mapped_column(comment="reason code, see docs/data-dictionary.md")
    reason: Mapped[str] = mapped_column(comment="the same in words")
    evidence: Mapped[str] = mapped_column(comment="the tag or pixel fact that decided")


class ModelVersion(Base):
    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("name", "version", "sha256"),
        {"comment": "Every model that ever said something, by the hash of its weights"},
    )

    id: Mapped[int] = _key()
    name: Mapped[str] = mapped_column(comment="of the model")
    version: Mapped[str] = mapped_column(comment="of the model")
    sha256: Mapped[str] = mapped_column(comment="of its weights, hex")
    modality: Mapped[str] = mapped_column(comment="CT, MR or CT+MR")
    first_used_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="when it first said something here"
    )


class PredictionRow(Base):
    __tablename__ = "predictions"
    __table_args__ = ({"comment": "What a model said of a series, or of the study (series empty)"},)

    id: Mapped[int] = _key()
    analysis_id: Mapped[int] = _parent("analyses.id")
    model_version_id: Mapped[int] = _parent("model_versions.id")
    series_instance_uid: Mapped[str | None] = mapped_column(comment="the series; empty: the whole study")
    probabilities: Mapped[dict[str, Any]] = mapped_column(comment="by class, 0 to 1")
    threshold: Mapped[float] = mapped_column(comment="tumour probability from which a series is present")
    engine: Mapped[str] = mapped_column(comment="what ran the network")
    device: Mapped[str] = mapped_column(comment="cpu or cuda")


class FindingRow(Base):
    __tablename__ = "findings"
    __table_args__ = ({"comment": "One lesion on one slice"},)

    id: Mapped[int] = _key()
    analysis_id: Mapped[int] = _parent("analyses.id")
    lesion: Mapped[int] = mapped_column(Integer, comment="joins the slices of one lesion")
    series_instance_uid: Mapped[str] = mapped_column(comment="(0020,000E) of the source")
    sop_instance_uid: Mapped[str] = mapped_column(comment="(0008,0018) of the source image")
    frame: Mapped[int | None] = mapped_column(Integer, comment="1-based; empty if single-frame")
    slice_index: Mapped[int] = mapped_column(Integer, comment="0-based along the sorted volume")
    x0: Mapped[int] = mapped_column(
        Integer, comment="left edge of the box, 0-based pixel of the stored image"
    )
    y0: Mapped[int] = mapped_column(Integer, comment="upper edge of the box")
    x1: Mapped[int] = mapped_column(Integer, comment="right edge of the box, exclusive")
    y1: Mapped[int] = mapped_column(Integer, comment="lower edge of the box, exclusive")
    size_mm: Mapped[float] = mapped_column(comment="largest extent on this slice")
    side: Mapped[str] = mapped_column(comment="the patient's")
    probability: Mapped[float] = mapped_column(comment="0 to 1")


class ResultObjectRow(Base):
    __tablename__ = "result_objects"
    __table_args__ = ({"comment": "DICOM objects that we made"},)

    id: Mapped[int] = _key()
    analysis_id: Mapped[int] = _parent("analyses.id")
    kind: Mapped[str] = mapped_column(
        comment="page, overlay, report, ...: see docs/configuration.md; rejection: a note"
    )
    index: Mapped[int] = mapped_column(Integer, comment="counts the objects of a kind, from 0")
    sop_class_uid: Mapped[str] = mapped_column(comment="(0008,0016)")
    sop_instance_uid: Mapped[str] = mapped_column(
        index=True, comment="(0008,0018), derived: the same when it is made again"
    )
    series_instance_uid: Mapped[str] = mapped_column(comment="(0020,000E), ours")
    path: Mapped[str] = mapped_column(comment="below the storage root")
    size_bytes: Mapped[int] = mapped_column(BigInteger, comment="of the file")


class Delivery(Base):
    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("result_object_id", "destination"),
        Index("ix_deliveries_due", "destination", "state", "next_try_at"),
        Index("ix_deliveries_unproven", "destination", "proof_due_at"),
        {"comment": "One result object to one destination"},
    )

    id: Mapped[int] = _key()
    result_object_id: Mapped[int] = _parent("result_objects.id")
    destination: Mapped[str] = mapped_column(
        comment="name in the configuration; behind a slash the peer that sent the study"
    )
    state: Mapped[str] = mapped_column(comment="waiting, sending, stored, refused or given_up")
    waiting_since: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="since when it has waited without a break"
    )
    alarmed_at: Mapped[datetime | None] = mapped_column(
        comment="when somebody should have a look: it waits for long, or cannot be proven"
    )
    failures: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="answers that may stand for a defect of the object itself"
    )
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"), comment="how often it was tried")
    last_status: Mapped[str] = mapped_column(server_default=text("''"), comment="in plain words")
    comment: Mapped[str] = mapped_column(
        server_default=text("''"),
        comment="the destination's own words with its last answer; may quote a header",
    )
    next_try_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="not before")
    stored_at: Mapped[datetime | None] = mapped_column(comment="when the destination said success")
    committed_at: Mapped[datetime | None] = mapped_column(comment="storage commitment, a proof")
    found_at: Mapped[datetime | None] = mapped_column(comment="found by query, a proof")
    proof: Mapped[str] = mapped_column(
        server_default=text("''"), comment="how far proving it has come, in plain words"
    )
    proof_due_at: Mapped[datetime | None] = mapped_column(
        comment="when to look for a proof next; empty where there is one or none can be had"
    )
    proof_tries: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="how often a proof was looked for"
    )
    commitment_uid: Mapped[str | None] = mapped_column(
        index=True, comment="transaction of the storage commitment that was asked for"
    )
    commitment_ae_title: Mapped[str | None] = mapped_column(
        comment="AE title that was asked for storage commitment, the only one whose report counts"
    )
    resends: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="how often it was sent again because it got lost there"
    )


class DestinationLease(Base):
    __tablename__ = "destination_leases"
    __table_args__ = ({"comment": "Which process may send to a destination right now"},)

    destination: Mapped[str] = mapped_column(
        primary_key=True, comment="name in the configuration; behind a slash the peer that sent the study"
    )
    owner: Mapped[str | None] = mapped_column(comment="the process that sends")
    token: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="raised by each sender; a stale one changes nothing"
    )
    lease_until: Mapped[datetime | None] = mapped_column(comment="until when its sender is believed to live")
    rung_at: Mapped[datetime | None] = mapped_column(comment="when the queue was last told")
    no_queries_until: Mapped[datetime | None] = mapped_column(
        comment="until when it is asked nothing, because it left a query unanswered"
    )


class Event(Base):
    __tablename__ = "events"
    __table_args__ = ({"comment": "One row per change of state: what happened, when, to which study"},)

    id: Mapped[int] = _key()
    at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="when it happened")
    study_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("studies.id"), index=True, comment="the study, where there is one"
    )
    revision_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("revisions.id"), index=True, comment="the revision, where there is one"
    )
    kind: Mapped[str] = mapped_column(comment="received, quiet, ready, analysing, analysed, stored, ...")
    detail: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'"), comment="what else is known: worker, attempt, destination, ..."
    )


class Installation(Base):
    __tablename__ = "installation"
    __table_args__ = ({"comment": "Who we are: one row, made by the first migration"},)

    uid: Mapped[str] = mapped_column(primary_key=True, comment="part of every UID that we derive")
