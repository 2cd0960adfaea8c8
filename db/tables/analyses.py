"""Analyses, and the objects made of them."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, key, parent


class AnalysisRow(Base):
    """The analysis that ended a revision; at most one for each."""

    __tablename__ = "analyses"
    __table_args__ = ({"comment": "What was found in a revision"},)

    id: Mapped[int] = key()
    revision_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("revisions.id"), unique=True, comment="the revision that was analysed"
    )
    study_id: Mapped[int] = parent("studies.id")
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
    """The decision to analyse a series or to refuse it."""

    __tablename__ = "series_verdicts"
    __table_args__ = ({"comment": "Why each series of a revision was taken or refused"},)

    id: Mapped[int] = key()
    analysis_id: Mapped[int] = parent("analyses.id")
    series_instance_uid: Mapped[str] = mapped_column(comment="(0020,000E)")
    modality: Mapped[str] = mapped_column(comment="(0008,0060)")
    description: Mapped[str] = mapped_column(comment="(0008,103E); empty where absent")
    taken: Mapped[bool] = mapped_column(comment="true: analysed; false: refused")
    code: Mapped[str] = mapped_column(comment="reason code, see docs/data-dictionary.md")
    reason: Mapped[str] = mapped_column(comment="the same in words")
    evidence: Mapped[str] = mapped_column(comment="the tag or pixel fact that decided")


class ModelVersion(Base):
    """A model by name, version and weights."""

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("name", "version", "sha256"),
        {"comment": "Every model that ever said something, by the hash of its weights"},
    )

    id: Mapped[int] = key()
    name: Mapped[str] = mapped_column(comment="of the model")
    version: Mapped[str] = mapped_column(comment="of the model")
    sha256: Mapped[str] = mapped_column(comment="of its weights, hex")
    modality: Mapped[str] = mapped_column(comment="CT, MR or CT+MR")
    first_used_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="when it first said something here"
    )


class PredictionRow(Base):
    """The probabilities that a model gave for a series or for the study."""

    __tablename__ = "predictions"
    __table_args__ = ({"comment": "What a model said of a series, or of the study (series empty)"},)

    id: Mapped[int] = key()
    analysis_id: Mapped[int] = parent("analyses.id")
    model_version_id: Mapped[int] = parent("model_versions.id")
    series_instance_uid: Mapped[str | None] = mapped_column(comment="the series; empty: the whole study")
    probabilities: Mapped[dict[str, Any]] = mapped_column(comment="by class, 0 to 1")
    threshold: Mapped[float] = mapped_column(comment="tumour probability from which a series is present")
    engine: Mapped[str] = mapped_column(comment="what ran the network")
    device: Mapped[str] = mapped_column(comment="cpu or cuda")


class FindingRow(Base):
    """The box of a lesion on a slice."""

    __tablename__ = "findings"
    __table_args__ = ({"comment": "One lesion on one slice"},)

    id: Mapped[int] = key()
    analysis_id: Mapped[int] = parent("analyses.id")
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


class SummaryRow(Base):
    """A text about an analysis; the newest stands."""

    __tablename__ = "summaries"
    __table_args__ = ({"comment": "The text about a study; of one analysis the newest stands"},)

    id: Mapped[int] = key()
    analysis_id: Mapped[int] = parent("analyses.id")
    language: Mapped[str] = mapped_column(comment="en or de")
    origin: Mapped[str] = mapped_column(comment="template, or model: a language model chose the sentences")
    author: Mapped[str] = mapped_column(comment="the language model; empty for the template")
    facts: Mapped[dict[str, Any]] = mapped_column(comment="all that the text may rest on")
    sentences: Mapped[list[Any]] = mapped_column(JSONB, comment="section, phrase, facts and words of each")
    made_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="when it was recorded")


class ResultObjectRow(Base):
    """A DICOM object made of an analysis; the file lies below the storage root."""

    __tablename__ = "result_objects"
    __table_args__ = ({"comment": "DICOM objects that we made"},)

    id: Mapped[int] = key()
    analysis_id: Mapped[int] = parent("analyses.id")
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
    superseded: Mapped[bool] = mapped_column(
        server_default=text("false"),
        comment="another object of this analysis, with other words, took its place",
    )
    withdrawn_by: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("analyses.id"), comment="the analysis that withdrew it and stands for it"
    )
