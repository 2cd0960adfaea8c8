"""What is known of an open study: which images came, when, on which association, and where they lie."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, Float, Select, cast, exists, func, literal_column, select

from db.tables import Instance, Revision, RevisionInstance, Series, Study
from neurotriage.core.placement import Placement
from neurotriage.core.reception import Sender
from neurotriage.core.states import StudyState
from neurotriage.core.values import EARLY


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study to which instances may still come."""

    id: int
    study_instance_uid: str
    idle_s: float  # since the newest of its instances came, by the database's clock
    version: str  # another one after each instance that was recorded


@dataclass(frozen=True, slots=True)
class ArrivedSeries:
    """A series as its first header names it."""

    id: int
    modality: str
    description: str
    body_part: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance of the study that counts and is no result of ours."""

    series_id: int
    sop_class_uid: str
    peer: Sender
    association_id: str
    came_s: float  # seconds since 1970, by the clock of the listener
    placement: Placement
    frozen: bool  # in a revision already


@dataclass(frozen=True, slots=True)
class StudyArrivals:
    """Everything that came of a study, in order of arrival, and the revisions made of it."""

    study_id: int
    study_instance_uid: str
    series: tuple[ArrivedSeries, ...]
    arrivals: tuple[Arrival, ...]
    received: int  # distinct SOP Instance UIDs, results of ours among them
    first_looks: int  # early revisions that were made
    completed: bool  # whether another revision was made


def _open_studies() -> Select[int, str, float, str]:
    idle = func.extract("epoch", func.clock_timestamp() - Study.last_received_at)
    version: ColumnElement[str] = literal_column("studies.xmin::text")
    return (
        select(Study.id, Study.study_instance_uid, cast(idle, Float), version)
        .where(Study.state == StudyState.OPEN)
        .order_by(Study.priority, Study.last_received_at)
    )


# Asked several times a second: to build it takes as long as its answer.
_OPEN_STUDIES: Final = _open_studies()


def open_studies(connection: Connection) -> list[OpenStudy]:
    """All open studies, the most urgent first, of a class the longest idle."""
    return [OpenStudy(*row) for row in connection.execute(_OPEN_STUDIES)]


def read_arrivals(connection: Connection, study: OpenStudy) -> StudyArrivals:
    """The rows of one study."""
    frozen = exists().where(RevisionInstance.instance_id == Instance.id)
    rows = connection.execute(
        select(Instance, func.extract("epoch", Instance.received_at).label("came_s"), frozen.label("frozen"))
        .where(Instance.study_id == study.id, Instance.counts)
        .order_by(Instance.received_at, Instance.id)
    ).all()
    series = connection.execute(
        select(Series.id, Series.modality, Series.description, Series.body_part)
        .where(Series.study_id == study.id)
        .order_by(Series.id)
    )
    made = connection.execute(select(Revision.completed_by).where(Revision.study_id == study.id)).scalars()
    early = [completed_by == EARLY for completed_by in made]
    return StudyArrivals(
        study_id=study.id,
        study_instance_uid=study.study_instance_uid,
        series=tuple(ArrivedSeries(*row) for row in series),
        arrivals=tuple(
            Arrival(
                row.series_id,
                row.sop_class_uid,
                (row.peer_ae_title, row.peer_host),
                row.association_id,
                float(row.came_s),
                Placement(
                    row.grid,
                    row.position_mm,
                    row.extent_mm,
                    row.frames,
                    row.acquisition_number,
                    row.images_stated,
                ),
                row.frozen,
            )
            for row in rows
            if not row.own_result
        ),
        received=len(rows),
        first_looks=sum(early),
        completed=not all(early),
    )
