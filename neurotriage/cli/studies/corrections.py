"""What ``identity`` and ``reject`` share: they show what they would take back, and ask."""

import getpass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine

_REASON_LENGTH = 200


def found_studies(engine: "Engine", study: str) -> list[int]:
    """Ids of the studies with this UID or accession number, shown with what stands of them."""
    from db import queries
    from db.corrections.standing_results import standing_results

    with engine.connect() as connection:
        study_ids = queries.find_studies(connection, study)
        if not study_ids:
            typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
            raise typer.Exit(1)
        for study_id in study_ids:
            known = standing_results(connection, study_id)
            typer.echo(
                f"{known.study_instance_uid}  patient {known.patient_id or '(no ID)'}, "
                f"images {known.images}, results at destinations {known.stored}"
            )
    return study_ids


def ask(question: str, *, yes: bool) -> None:
    """End with exit code 1 unless the answer is yes."""
    if not yes and not typer.confirm(question):
        typer.echo("nothing was changed")
        raise typer.Exit(1)


def checked_reason(reason: str) -> str:
    """``reason``, or the default one. Raises ``typer.BadParameter``."""
    if not reason.isprintable() or len(reason) > _REASON_LENGTH:
        raise typer.BadParameter(f"--reason: one line of at most {_REASON_LENGTH} characters")
    return reason or "asked for by command"


def made_by() -> str:
    """Who asks, for the record."""
    try:
        return f"command by {getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return "command"
