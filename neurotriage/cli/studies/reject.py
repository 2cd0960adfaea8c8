"""``neurotriage reject``: images that do not belong to their study, by an admin's word."""

import typer

from neurotriage.cli import database
from neurotriage.cli.asked import ask, checked_reason
from neurotriage.cli.studies.corrections import found_studies


def register(app: typer.Typer) -> None:
    app.command()(reject)


def reject(
    study: str = typer.Argument(..., help="A StudyInstanceUID or an accession number."),
    series: str = typer.Option("", help="Only this series (SeriesInstanceUID)."),
    instance: str = typer.Option("", help="Only this image (SOPInstanceUID)."),
    reason: str = typer.Option("", help="The reason, without a patient's name; `why` shows it."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Take images that were rejected elsewhere out of a study.

    Results that show them are withdrawn, and the study is analysed anew without them. The bytes are kept; the
    same image of the same patient does not count again.

    Example: neurotriage reject 1.2.826.0.1.3680043.8.498.1 --series 1.2.826.0.1.3680043.8.498.2
    """
    from db.corrections import rejections

    why = checked_reason(reason)
    with database.engine() as engine:
        study_ids = found_studies(engine, study)
        ask("Reject these images, and withdraw the results that show them?", yes=yes)
        count = 0
        for study_id in study_ids:
            with engine.begin() as connection:
                count += rejections.reject(connection, study_id, series=series, instance=instance, reason=why)
    typer.echo(f"images rejected: {count}")
    if not count:
        typer.echo("no image of the study is one of these", err=True)
        raise typer.Exit(1)
