"""The rows of an analysis, written in one transaction with the move that ends its revision."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, exists, select, update
from sqlalchemy.dialects.postgresql import insert

from db import events, summary_requests
from db.corrections.rejections import NOTE
from db.corrections.withdrawal import settle
from db.studies import summaries
from db.studies.leases import Lease, finish
from db.studies.objects import WrittenObject, record_object
from db.studies.recall import RECALL
from db.studies.summaries import KeptSummary
from db.tables import (
    AnalysisRow,
    Delivery,
    FindingRow,
    Installation,
    Instance,
    ModelVersion,
    PredictionRow,
    ResultObjectRow,
    Revision,
    SeriesVerdictRow,
    Study,
)
from neurotriage.core.documents import from_document, to_document
from neurotriage.core.states import DeliveryState, RevisionState
from neurotriage.core.values import (
    REPROCESSED,
    Analysis,
    Claims,
    NoteKind,
    Outcome,
    Prediction,
)

_ENDED: Final = (RevisionState.ANALYSED, RevisionState.FAILED)


@dataclass(frozen=True, slots=True)
class LastAnalysis:
    """The inputs of an analysis: where they are equal, a new revision would say nothing new."""

    input_digest: str
    software_version: str
    claims: str
    model_sha256s: frozenset[str]


def installation_uid(connection: Connection) -> str:
    """The UID of this installation, part of every UID that we derive."""
    return connection.execute(select(Installation.uid)).scalar_one()


def last_analysis(connection: Connection, study_id: int) -> LastAnalysis | None:
    """The analysis of a study's newest revision that ended.

    None where that one failed, or none has ended. A revision that ended ``unchanged`` is passed over.
    """
    row = connection.execute(
        select(
            Revision.state,
            AnalysisRow.id,
            AnalysisRow.input_digest,
            AnalysisRow.software_version,
            AnalysisRow.claims,
        )
        .outerjoin(AnalysisRow, AnalysisRow.revision_id == Revision.id)
        .where(Revision.study_id == study_id, Revision.state.in_(_ENDED))
        .order_by(Revision.number.desc())
        .limit(1)
    ).one_or_none()
    if row is None or row.state == RevisionState.FAILED:
        return None
    hashes = connection.execute(
        select(ModelVersion.sha256)
        .join(PredictionRow, PredictionRow.model_version_id == ModelVersion.id)
        .where(PredictionRow.analysis_id == row.id)
    ).scalars()
    return LastAnalysis(row.input_digest, row.software_version, row.claims, frozenset(hashes))


def sender(connection: Connection, study_id: int) -> tuple[str, str]:
    """Calling AE title and address of the peer that a study came from first.

    Results of ours do not count, and rejection notes only where nothing else came. Raises SQLAlchemy's
    ``NoResultFound`` where the study has no instance.
    """
    row = connection.execute(
        select(Instance.peer_ae_title, Instance.peer_host)
        .where(Instance.study_id == study_id, ~Instance.own_result)
        .order_by(Instance.removed.is_not_distinct_from(NOTE), Instance.id)
        .limit(1)
    ).one()
    return row.peer_ae_title, row.peer_host


@dataclass(frozen=True, slots=True)
class StandingAnalysis:
    """The analysis that stands for a study, from which its results can be made anew."""

    id: int
    revision_id: int
    number: int  # of the revision
    claims: Claims
    analysis: Analysis


def standing(connection: Connection, study_id: int) -> StandingAnalysis | None:
    """The analysis of the study's newest revision that ended; None where none stands."""
    row = connection.execute(
        select(AnalysisRow.id, Revision.id.label("revision_id"), Revision.number)
        .add_columns(AnalysisRow.claims, AnalysisRow.document)
        .join(Revision, Revision.id == AnalysisRow.revision_id)
        .where(Revision.study_id == study_id, Revision.state.in_(_ENDED), ~Revision.superseded)
        .order_by(Revision.number.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    return StandingAnalysis(
        row.id, row.revision_id, row.number, Claims(row.claims), from_document(row.document)
    )


def earlier_outcome(connection: Connection, revision_id: int) -> Outcome | None:
    """The outcome that stood for the study before a revision of further images; None where there is none.

    Also None for a revision that only repeats the same images: its former answer confirms nothing.
    """
    own = connection.execute(
        select(Revision.study_id, Revision.number, Revision.completed_by).where(Revision.id == revision_id)
    ).one()
    if own.completed_by in (REPROCESSED, RECALL):
        return None
    outcome = connection.execute(
        select(AnalysisRow.outcome)
        .join(Revision, Revision.id == AnalysisRow.revision_id)
        .where(
            Revision.study_id == own.study_id,
            Revision.number < own.number,
            Revision.state == RevisionState.ANALYSED,
        )
        .order_by(Revision.number.desc())
        .limit(1)
    ).scalar_one_or_none()
    return None if outcome is None else Outcome(outcome)


def pending(connection: Connection, study_id: int) -> bool:
    """Whether a revision of the study waits to be analysed, or is."""
    waits = Revision.state.in_((RevisionState.READY, RevisionState.ANALYSING))
    return bool(connection.execute(select(exists().where(Revision.study_id == study_id, waits))).scalar())


def record_analysis(
    connection: Connection,
    held: Lease,
    analysis: Analysis,
    started_at: datetime,
    objects: Iterable[WrittenObject],
    claims: Claims = Claims.RESEARCH,
    text: KeptSummary | None = None,
    *,
    ask: bool = False,
) -> bool:
    """Write all rows of an analysis and end its revision. False: the lease was lost, nothing is written.

    ``text``: what the objects say in words; ``ask``: models of others are to be asked about it.

    Locks the study's row. Where a newer revision has ended already, this one is superseded from the start and
    only its rejection notes are delivered; else the older ones are superseded, and their waiting deliveries
    cancelled but for rejection notes. What was withdrawn before is made up for.
    """
    # First, as everybody does who changes several rows of a study.
    connection.execute(select(Study.id).where(Study.id == held.study_id).with_for_update(key_share=True))
    state = RevisionState.FAILED if analysis.outcome is Outcome.FAILED else RevisionState.ANALYSED
    if not finish(
        connection, held, state, outcome=analysis.outcome, reasons=[r.code for r in analysis.reasons]
    ):
        return False
    analysis_id = connection.execute(
        insert(AnalysisRow)
        .values(
            revision_id=held.revision_id,
            study_id=held.study_id,
            outcome=analysis.outcome,
            triage=analysis.triage,
            head_meant=analysis.head_meant,
            reasons=[{"code": r.code, "text": r.text} for r in analysis.reasons],
            input_digest=analysis.input_digest,
            software_version=analysis.software_version,
            claims=claims,
            started_at=started_at,
            analysed_at=analysis.analysed_at,
            document=to_document(analysis),
        )
        .returning(AnalysisRow.id)
    ).scalar_one()
    _insert_all(connection, SeriesVerdictRow, analysis_id, _verdicts(analysis))
    _insert_all(connection, FindingRow, analysis_id, _findings(analysis))
    _insert_all(
        connection,
        PredictionRow,
        analysis_id,
        [_prediction(connection, prediction) for prediction in analysis.predictions],
    )
    if text is not None:
        summaries.record(connection, analysis_id, text)
    settle(connection, held.study_id, analysis_id)
    current = not _superseded(connection, held)
    if ask and current:
        summary_requests.place(connection, analysis_id)
    for written in objects:
        deliver = current or written.result.kind is NoteKind.REJECTION
        record_object(connection, analysis_id, written, deliver=deliver)
    return True


def _insert_all(connection: Connection, table: type, analysis_id: int, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), [{"analysis_id": analysis_id, **row} for row in rows])


def _verdicts(analysis: Analysis) -> list[dict[str, Any]]:
    return [
        {
            "series_instance_uid": verdict.series_instance_uid,
            "modality": verdict.modality,
            "description": verdict.description,
            "taken": verdict.taken,
            "code": verdict.reason.code,
            "reason": verdict.reason.text,
            "evidence": verdict.evidence,
        }
        for verdict in analysis.verdicts
    ]


def _findings(analysis: Analysis) -> list[dict[str, Any]]:
    return [
        {
            "lesion": finding.lesion,
            "series_instance_uid": finding.series_instance_uid,
            "sop_instance_uid": finding.sop_instance_uid,
            "frame": finding.frame,
            "slice_index": finding.slice_index,
            **dict(zip(("x0", "y0", "x1", "y1"), finding.box, strict=True)),
            "size_mm": finding.size_mm,
            "side": finding.side,
            "probability": finding.probability,
        }
        for finding in analysis.findings
    ]


def _prediction(connection: Connection, prediction: Prediction) -> dict[str, Any]:
    identity = {
        "name": prediction.model,
        "version": prediction.version,
        "sha256": prediction.sha256,
    }
    connection.execute(
        insert(ModelVersion)
        .values(**identity, modality=prediction.modality)
        .on_conflict_do_nothing(index_elements=list(identity))
    )
    model_id = connection.execute(select(ModelVersion.id).filter_by(**identity)).scalar_one()
    return {
        "model_version_id": model_id,
        "series_instance_uid": prediction.series_instance_uid,
        "probabilities": dict(prediction.probabilities),
        "threshold": prediction.threshold,
        "engine": prediction.engine,
        "device": prediction.device,
    }


def _superseded(connection: Connection, held: Lease) -> bool:
    """Whether a newer revision has ended. If not, supersede older ones and cancel their deliveries."""
    number = select(Revision.number).where(Revision.id == held.revision_id).scalar_subquery()
    newer = connection.execute(
        select(
            exists().where(
                Revision.study_id == held.study_id, Revision.number > number, Revision.state.in_(_ENDED)
            )
        )
    ).scalar_one()
    if newer:
        connection.execute(update(Revision).where(Revision.id == held.revision_id).values(superseded=True))
        return True
    older = (
        connection.execute(
            update(Revision)
            .where(Revision.study_id == held.study_id, Revision.number < number, ~Revision.superseded)
            .values(superseded=True)
            .returning(Revision.id)
        )
        .scalars()
        .all()
    )
    objects = (
        select(ResultObjectRow.id)
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        # A rejection note of an older revision still has to arrive.
        .where(AnalysisRow.revision_id.in_(older), ResultObjectRow.kind != NoteKind.REJECTION)
    )
    cancelled = connection.execute(
        update(Delivery)
        .where(
            Delivery.state.in_((DeliveryState.HELD, DeliveryState.WAITING, DeliveryState.SENDING)),
            Delivery.result_object_id.in_(objects),
        )
        .values(state=DeliveryState.GIVEN_UP, last_status="cancelled: a newer revision was analysed")
    )
    if cancelled.rowcount:
        events.record(
            connection,
            "deliveries_cancelled",
            study_id=held.study_id,
            revision_id=held.revision_id,
            deliveries=cancelled.rowcount,
        )
    return False
