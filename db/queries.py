"""Queries of the commands for people: which studies came, what became of each, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, func, or_, select, text

from db.studies import summaries
from db.studies.summaries import KeptSummary
from db.tables import AnalysisRow, Delivery, Event, ResultObjectRow, Revision, Series, SeriesVerdictRow, Study
from neurotriage.core.documents import from_document
from neurotriage.core.result_json import ObjectState
from neurotriage.core.states import RevisionState
from neurotriage.core.values import Analysis

# The view, and the class of the study.
_RESULTS = """(
    select shown.*, own.priority, own.priority_basis, own.priority_evidence
    from study_results shown join studies own using (study_instance_uid)
) results"""
_HOPS = ("received_at", "ready_at", "analysed_at", "stored_at")


def study_results(
    connection: Connection, *, limit: int, study_ids: Sequence[int] | None = None
) -> list[Mapping[str, Any]]:
    """At most ``limit`` rows of the view ``study_results``, with the class, the newest received first.

    ``study_ids``: of these studies only; None: of all.
    """
    values: dict[str, Any] = {"limit": limit}
    where = ""
    if study_ids is not None:
        uids = select(Study.study_instance_uid).where(Study.id.in_(study_ids))
        values["uids"] = list(connection.execute(uids).scalars())
        where = "where study_instance_uid = any(:uids)"
    statement = text(f"select * from {_RESULTS} {where} order by received_at desc limit :limit")  # noqa: S608
    return [dict(row) for row in connection.execute(statement, values).mappings()]


def study_results_columns(connection: Connection) -> list[str]:
    """The columns of ``study_results``."""
    return list(connection.execute(text(f"select * from {_RESULTS} limit 0")).keys())  # noqa: S608


def find_studies(connection: Connection, key: str) -> list[int]:
    """Ids of the studies with this StudyInstanceUID or accession number, sorted; often none.

    None for an empty key: many studies have no accession number.
    """
    if not key.strip():
        return []
    matching = select(Study.id).where(or_(Study.study_instance_uid == key, Study.accession_number == key))
    return list(connection.execute(matching.order_by(Study.id)).scalars())


def newest_revisions(
    connection: Connection, *, limit: int, study_ids: Sequence[int] | None = None
) -> list[tuple[int, int]]:
    """Study and id of the newest revision of at most ``limit`` studies, the newest received first.

    Studies without one, to which images still come, are passed over. ``study_ids``: of these only; None: all.
    """
    newest = (
        select(Revision.study_id, func.max(Revision.id).label("revision_id"))
        .group_by(Revision.study_id)
        .subquery()
    )
    matching = select(Study.id, newest.c.revision_id).join(newest, newest.c.study_id == Study.id)
    if study_ids is not None:
        matching = matching.where(Study.id.in_(study_ids))
    ordered = matching.order_by(Study.first_received_at.desc(), Study.id.desc()).limit(limit)
    return [(row.id, row.revision_id) for row in connection.execute(ordered)]


@dataclass(frozen=True, slots=True)
class StudyHistory:
    """A study with the rows that belong to it. Mappings are rows by column name."""

    row: Mapping[str, Any]  # as study_results gives it
    analysis: Analysis | None
    series: Sequence[Mapping[str, Any]]
    verdicts: Sequence[Mapping[str, Any]]
    objects: Sequence[ObjectState]
    deliveries: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    last_error: str | None
    text: KeptSummary | None = None  # about the analysis

    @property
    def hops_s(self) -> dict[str, float]:
        """Seconds from one hop to the next, where both are known."""
        times = [(hop.removesuffix("_at"), self.row[hop]) for hop in _HOPS if self.row[hop] is not None]
        return {
            f"{before}_to_{after}": round((end - begin).total_seconds(), 3)
            for (before, begin), (after, end) in pairwise(times)
        }


def history(connection: Connection, study_id: int) -> StudyHistory:
    """The history of a study, with analysis, objects and deliveries of its newest revision.

    Revisions that ended ``unchanged`` are passed over; of one that was withdrawn there is no analysis. Raises
    SQLAlchemy's ``NoResultFound`` for an unknown id.
    """
    uid = connection.execute(select(Study.study_instance_uid).where(Study.id == study_id)).scalar_one()
    row = connection.execute(
        text(f"select * from {_RESULTS} where study_instance_uid = :uid"),  # noqa: S608
        {"uid": uid},
    ).mappings()
    shown = dict(row.one())
    revision = connection.execute(
        select(Revision.id, Revision.state, Revision.last_error).where(
            Revision.study_id == study_id, Revision.number == shown["revision"]
        )
    ).one_or_none()
    stands = revision is not None and revision.state != RevisionState.WITHDRAWN
    analysis = connection.execute(
        select(AnalysisRow.id, AnalysisRow.document).where(
            AnalysisRow.revision_id == (revision.id if revision and stands else None)
        )
    ).one_or_none()
    analysis_id = analysis.id if analysis else None
    deliveries = _deliveries(connection, analysis_id)
    return StudyHistory(
        row=shown,
        analysis=from_document(analysis.document) if analysis else None,
        series=_rows(connection, select(Series.__table__).where(Series.study_id == study_id)),
        verdicts=_rows(
            connection,
            select(SeriesVerdictRow.__table__)
            .where(SeriesVerdictRow.analysis_id == analysis_id)
            .order_by(SeriesVerdictRow.id),
        ),
        objects=_objects(connection, analysis_id, deliveries),
        deliveries=deliveries,
        events=_rows(
            connection, select(Event.__table__).where(Event.study_id == study_id).order_by(Event.id)
        ),
        last_error=revision.last_error if revision else None,
        text=summaries.newest(connection, analysis.id) if analysis else None,
    )


def _rows(connection: Connection, statement: Any) -> list[Mapping[str, Any]]:
    return [dict(row) for row in connection.execute(statement).mappings()]


def _deliveries(connection: Connection, analysis_id: int | None) -> list[Mapping[str, Any]]:
    return _rows(
        connection,
        select(
            Delivery.__table__,
            ResultObjectRow.kind,
            ResultObjectRow.sop_instance_uid,
        )
        .join(ResultObjectRow, ResultObjectRow.id == Delivery.result_object_id)
        .where(ResultObjectRow.analysis_id == analysis_id)
        .order_by(Delivery.destination, Delivery.id),
    )


def _objects(
    connection: Connection, analysis_id: int | None, deliveries: Sequence[Mapping[str, Any]]
) -> list[ObjectState]:
    """Each object per destination; one that has no destination stands once, as ``written``."""
    states: dict[int, list[tuple[str, str | None]]] = {}
    for delivery in deliveries:
        states.setdefault(delivery["result_object_id"], []).append(
            (delivery["state"], delivery["destination"])
        )
    rows = _rows(
        connection,
        select(ResultObjectRow.__table__)
        .where(ResultObjectRow.analysis_id == analysis_id, ~ResultObjectRow.superseded)
        .order_by(ResultObjectRow.id),
    )
    return [
        ObjectState(
            kind=row["kind"],
            sop_class_uid=row["sop_class_uid"],
            sop_instance_uid=row["sop_instance_uid"],
            path=row["path"],
            state=state,
            destination=destination,
        )
        for row in rows
        for state, destination in states.get(row["id"], [("written", None)])
    ]
