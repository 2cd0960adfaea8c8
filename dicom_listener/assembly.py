"""Decides when a study is complete, by a pure function, and freezes it into a revision."""

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
    """``QUIET`` where no instance of a study arrived for ``quiet_s``, else None.

    ``behind_s``: seconds before now for which arrivals are not recorded yet (``Backlog.behind_s``).
    """
    return QUIET if study.idle_s - behind_s >= quiet_s else None


def assemble(engine: Engine, quiet_s: float, backlog: Backlog | None = None) -> list[int]:
    """Freeze each study that has been quiet for ``quiet_s``; the ids of the new revisions.

    ``backlog``: files received and not recorded yet. Raises ``Unavailable`` while Postgres does not answer.
    An error on one study is raised after all others were tried.
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
