"""Received studies, series and instances, files set aside, and contexts refused."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, key, parent


class Study(Base):
    """A study as its headers name it, and whether instances may still come."""

    __tablename__ = "studies"
    __table_args__ = (
        Index("ix_studies_open", "last_received_at", postgresql_where=text("state = 'open'")),
        {"comment": "One row per StudyInstanceUID received"},
    )

    id: Mapped[int] = key()
    study_instance_uid: Mapped[str] = mapped_column(unique=True, comment="(0020,000D)")
    state: Mapped[str] = mapped_column(comment="open: instances still arrive; quiet: judged complete")
    patient_id: Mapped[str] = mapped_column(
        comment="(0010,0020) of the first instance, or as corrected since; empty where absent"
    )
    issuer_of_patient_id: Mapped[str] = mapped_column(comment="(0010,0021); empty where absent")
    accession_number: Mapped[str] = mapped_column(index=True, comment="(0008,0050); empty where absent")
    study_date: Mapped[str] = mapped_column(comment="as in the header (YYYYMMDD), empty where absent")
    description: Mapped[str] = mapped_column(comment="(0008,1030); empty where absent")
    first_received_at: Mapped[datetime] = mapped_column(index=True, comment="when its first instance came")
    last_received_at: Mapped[datetime] = mapped_column(
        comment="when its newest instance came, by the clock of this database"
    )
    priority: Mapped[str] = mapped_column(
        server_default=text("'routine'"), comment="what is served first: urgent, routine or backlog"
    )
    priority_basis: Mapped[str] = mapped_column(
        server_default=text("''"),
        comment="what decided: command, peer, called, request, location, again, repeated or nothing",
    )
    priority_evidence: Mapped[str] = mapped_column(
        server_default=text("''"), comment="the same in words; may quote a header"
    )


class Series(Base):
    """A series of a study."""

    __tablename__ = "series"
    __table_args__ = (
        UniqueConstraint("study_id", "series_instance_uid"),
        {"comment": "One row per series received"},
    )

    id: Mapped[int] = key()
    study_id: Mapped[int] = parent("studies.id")
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
    """Distinct bytes under one SOP Instance UID, and whether they stand for it."""

    __tablename__ = "instances"
    __table_args__ = (
        UniqueConstraint("study_id", "sop_instance_uid", "digest"),
        # They come in this order, so a summary of blocks finds them, and costs receiving nothing.
        Index(
            "ix_instances_received_at",
            "received_at",
            postgresql_using="brin",
            postgresql_with={"autosummarize": "on"},
        ),
        # For ``db.retention``; without storage commitment it is empty.
        Index("ix_instances_promised", "digest", postgresql_where=text("committed_at IS NOT NULL")),
        {"comment": "One row per distinct instance received; the bytes lie in the store, by digest"},
    )

    id: Mapped[int] = key()
    study_id: Mapped[int] = parent("studies.id")
    series_id: Mapped[int] = parent("series.id")
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
        comment="false: another stands for its SOP Instance UID, or it was removed"
    )
    times_received: Mapped[int] = mapped_column(
        Integer, server_default=text("1"), comment="how often these bytes came"
    )
    peer_ae_title: Mapped[str] = mapped_column(comment="calling AE title of the sender")
    peer_host: Mapped[str] = mapped_column(comment="network address of the sender")
    received_at: Mapped[datetime] = mapped_column(comment="when it was answered 0x0000")
    committed_at: Mapped[datetime | None] = mapped_column(
        comment="when we promised a peer to keep it: its bytes are never deleted"
    )
    association_id: Mapped[str] = mapped_column(
        server_default=text("''"), comment="our id of the association on which it came; empty if unknown"
    )
    grid: Mapped[str] = mapped_column(
        server_default=text("''"), comment="normal and matrix of its slices; empty without a position"
    )
    position_mm: Mapped[float | None] = mapped_column(
        comment="of its lowest frame along the normal, from (0020,0032) and (0020,0037)"
    )
    extent_mm: Mapped[float] = mapped_column(
        server_default=text("0"), comment="from its lowest frame to its highest; 0 if single-frame"
    )
    frames: Mapped[int] = mapped_column(Integer, server_default=text("1"), comment="(0028,0008)")
    acquisition_number: Mapped[int | None] = mapped_column(Integer, comment="(0020,0012)")
    images_stated: Mapped[int | None] = mapped_column(
        Integer, comment="(0020,1002), or (0020,9163): how many images its own header speaks of"
    )
    corrected_by: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("identity_corrections.id"), comment="the correction that says whose it is"
    )
    removed: Mapped[str | None] = mapped_column(
        comment="why it is no part of the study: replaced, rejected or, of a rejection note, note"
    )


# The patient's ID, hashed: the first part of the key.
Index("ix_instances_patient_id", func.split_part(Instance.patient_key, ".", 1))


class Association(Base):
    """How an association on which instances came has ended; the oldest rows are deleted."""

    __tablename__ = "associations"
    __table_args__ = ({"comment": "How associations ended: the newest 20,000"},)

    id: Mapped[int] = key()
    association_id: Mapped[str] = mapped_column(unique=True, comment="our id of the association")
    peer_ae_title: Mapped[str] = mapped_column(comment="calling AE title of the sender")
    peer_host: Mapped[str] = mapped_column(comment="network address of the sender")
    released: Mapped[bool] = mapped_column(comment="true: by A-RELEASE; false: aborted, lost or closed by us")
    ended_at: Mapped[datetime] = mapped_column(comment="when it ended, by the clock of the listener")


class Quarantined(Base):
    """A file that could not be used."""

    __tablename__ = "quarantined"
    __table_args__ = (
        Index(
            "ix_quarantined_sop_instance_uid",
            "sop_instance_uid",
            postgresql_where=text("sop_instance_uid <> ''"),
        ),
        Index("ix_quarantined_quarantined_at", "quarantined_at"),
        {"comment": "What was received and could not be used; the bytes are kept"},
    )

    id: Mapped[int] = key()
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
    sop_instance_uid: Mapped[str] = mapped_column(
        server_default=text("''"), comment="SOP Instance UID of the C-STORE request; empty if unknown"
    )
    received_at: Mapped[datetime] = mapped_column(comment="when it was answered 0x0000")
    quarantined_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="when it was set aside"
    )


class RefusedContext(Base):
    """A presentation context that was proposed and refused, counted."""

    __tablename__ = "refused_contexts"
    __table_args__ = ({"comment": "Presentation contexts that peers proposed and we refused"},)

    id: Mapped[int] = key()
    peer_ae_title: Mapped[str] = mapped_column(comment="calling AE title of the sender")
    peer_host: Mapped[str] = mapped_column(comment="network address of the sender")
    sop_class_uid: Mapped[str] = mapped_column(comment="what it wanted to send")
    transfer_syntaxes: Mapped[str] = mapped_column(comment="the forms in which it offered that")
    times: Mapped[int] = mapped_column(Integer, server_default=text("1"), comment="how often it was refused")
    last_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="when it was last refused")

    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - SQLAlchemy reads it from the class


class RefusedAssociation(Base):
    """A connection or association that was refused, counted."""

    __tablename__ = "refusals"
    __table_args__ = ({"comment": "Connections and associations that were refused, by cause and sender"},)

    id: Mapped[int] = key()
    cause: Mapped[str] = mapped_column(comment="why it was refused, in words")
    peer_host: Mapped[str] = mapped_column(comment="network address of the sender")
    peer_ae_title: Mapped[str] = mapped_column(comment="calling AE title; empty where none was sent")
    called_ae_title: Mapped[str] = mapped_column(
        comment="the AE title that it called; empty where none was sent"
    )
    times: Mapped[int] = mapped_column(
        BigInteger, server_default=text("1"), comment="how often it was refused"
    )
    first_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="when it was first refused")
    last_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="when it was last refused")

    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - SQLAlchemy reads it from the class


Index(
    "uq_refusals_what",
    RefusedAssociation.cause,
    RefusedAssociation.peer_host,
    RefusedAssociation.peer_ae_title,
    RefusedAssociation.called_ae_title,
    unique=True,
)
Index(
    "uq_refused_contexts_what",
    RefusedContext.peer_ae_title,
    RefusedContext.peer_host,
    RefusedContext.sop_class_uid,
    RefusedContext.transfer_syntaxes,
    unique=True,
)
