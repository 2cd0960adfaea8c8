"""What ``identity`` and ``reject`` share: they show what they would take back."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine


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
