"""When is a study complete? The rule is a pure function; around it, what freezes the study."""

from datetime import UTC, datetime
from typing import Final

import structlog
from sqlalchemy import Engine

from db.engine import outage_as_unavailable
from db.studies.assembly import OpenStudy, freeze, open_studies
from dicom_listener.backlog import Backlog

log = structlog.get_logger()

QUIET: Final = "quiet"


def due(study: OpenStudy, quiet_s: float, behind_s: float) -> str | None:
    """The evidence that a study is complete: no instance came for ``quiet_s``. None: wait.

    ``behind_s``: for so long before now it is not known yet whether one came.
    """
    return QUIET if study.idle_s - behind_s >= quiet_s else None


def assemble(engine: Engine, quiet_s: float, backlog: Backlog | None = None) -> list[int]:
    """Freeze each study that is complete, by its own clock; the ids of the new revisions.

    ``backlog``: what came and is not recorded yet; None: nothing. Raises ``Unavailable`` while Postgres does
    not answer; an error that one study causes is raised once all others had their turn.
    """
    revisions, errors = [], []
    with outage_as_unavailable(), engine.begin() as connection:
        waiting = open_studies(connection, idle_s=quiet_s)
    for study in waiting:
        behind_s = backlog.behind_s(study.peers, datetime.now(UTC)) if backlog else 0.0
        evidence = due(study, quiet_s, behind_s)
        if evidence is None:
            continue
        try:
            with outage_as_unavailable(), engine.begin() as connection:
                revision = freeze(connection, study.id, idle_s=quiet_s + behind_s, completed_by=evidence)
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)
            continue
        if revision is not None:
            log.info("study_ready", study=study.id, revision=revision, completed_by=evidence)
            revisions.append(revision)
    if errors:
        raise errors[0]
    return revisions
