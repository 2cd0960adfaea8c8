"""``neurotriage identity``: whose study it is, by an admin's word."""

import typer

from neurotriage.cli import database
from neurotriage.cli.asked import ask, checked_reason, made_by
from neurotriage.cli.studies.corrections import found_studies
from neurotriage.core.patient import PatientIdentity


def register(app: typer.Typer) -> None:
    app.command()(identity)


def identity(
    study: str = typer.Argument(..., help="A StudyInstanceUID or an accession number."),
    patient: str = typer.Option(..., "--patient", help="The right patient ID (0010,0020)."),
    issuer: str = typer.Option("", help="Its issuer (0010,0021)."),
    name: str = typer.Option("", help="The right name (0010,0010), as in Beta^Bert."),
    birth_date: str = typer.Option("", help="The right birth date (0010,0030), YYYYMMDD."),
    sex: str = typer.Option("", help="M, F or O (0010,0040)."),
    reason: str = typer.Option("", help="The reason, without a patient's name; `why` shows it."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Correct the patient of a study.

    Results under the old patient are withdrawn and made anew under the right one. Nothing else of the old
    patient is in them: what is not given here stays empty.

    Example: neurotriage identity 1.2.826.0.1.3680043.8.498.1 --patient 4711 --name Beta^Bert
    """
    from db.corrections import identity as corrections

    try:
        to = PatientIdentity(patient, issuer, name, birth_date, sex)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    why = checked_reason(reason)
    with database.engine() as engine:
        study_ids = found_studies(engine, study)
        typer.echo(
            f"results will say: patient {to.patient_id}, issuer {to.issuer or '(none)'}, name "
            f"{to.name or '(none)'}, birth date {to.birth_date or '(none)'}, sex {to.sex or '(none)'}"
        )
        ask("Withdraw these results and make them anew?", yes=yes)
        done = []
        for study_id in study_ids:
            with engine.begin() as connection:
                done.append(corrections.correct(connection, study_id, to, made_by=made_by(), reason=why))
    count = len(done) - done.count(None)
    typer.echo(f"{count} of {len(done)} studies are corrected and will be analysed anew")
    if not count:
        typer.echo("there is nothing to correct: they are this patient's already", err=True)
        raise typer.Exit(1)
