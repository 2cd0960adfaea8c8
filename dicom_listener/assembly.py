"""When is a study complete? The rule is a pure function; around it, what freezes the study."""

from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from db.intake import OpenStudy, freeze, open_studies
from neurotriage.core.errors import Unavailable

log = structlog.get_logger()

QUIET: Final = "quiet"


def due(study: OpenStudy, quiet_s: float) -> str | None:
    """The evidence that a study is complete: no instance came for ``quiet_s``. None: wait."""
    return QUIET if study.idle_s >= quiet_s else None


def assemble(engine: Engine, quiet_s: float) -> list[int]:
    """Freeze each study that is complete; the ids of the new revisions.

    Only after an ingest that left nothing behind: an instance that still waits in the spool has not reset
    its study's clock yet. Raises ``Unavailable`` while Postgres does not answer.
    """
    revisions = []
    try:
        with engine.begin() as connection:
            waiting = open_studies(connection)
        for study in waiting:
            evidence = due(study, quiet_s)
            if evidence is None:
                continue
            with engine.begin() as connection:
                revision = freeze(connection, study.id, idle_s=quiet_s, completed_by=evidence)
            if revision is not None:
                log.info("study_ready", study=study.id, revision=revision, completed_by=evidence)
                revisions.append(revision)
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(f"Postgres does not answer: {type(error.orig).__name__}") from error
    return revisions
