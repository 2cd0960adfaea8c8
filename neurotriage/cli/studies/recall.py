"""``neurotriage recall``: the studies of a model, and their results replaced."""

from collections.abc import Sequence
from typing import Any

import typer

from neurotriage.cli import database
from neurotriage.cli.tables import print_whole
from neurotriage.core.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(recall)


def recall(
    model: str = typer.Argument(..., help="The name of the model."),
    version: str = typer.Argument(..., help="Its version."),
    again: bool = typer.Option(
        False, "--again", help="Analyse these studies again with the installed models, and send the results."
    ),
) -> None:
    """List a model's studies; with --again, replace its results.

    Destinations with rejection_notes get a rejection note that names the old results.

    Example: neurotriage recall mr-teacher 0.1.0 --again
    """
    from db.studies import priority
    from db.studies import recall as recalled

    with database.engine() as engine, engine.begin() as connection:
        analyses = recalled.produced(connection, model, version)
        if not analyses:
            typer.echo(f"no study was analysed by {model} {version}", err=True)
            raise typer.Exit(1)
        print_table(analyses)
        if not again:
            return
        _refuse_if_installed(model, version)
        current = {analysis.study_id for analysis in analyses if not analysis.superseded}
        made = []
        for study_id in sorted(current):
            made.append(recalled.analyse_again(connection, study_id, model, version))
            if made[-1] is not None and len(current) > 1:
                priority.hold_back(connection, study_id, f"analysed again with {len(current) - 1} others")
    typer.echo(f"{len(made) - made.count(None)} of {len(made)} studies will be analysed again")
    if None in made:
        typer.echo(f"{made.count(None)} wait to be analysed anyway")


def _refuse_if_installed(model: str, version: str) -> None:
    """End with a sentence: the same model would give the same results."""
    from worker.vision import BadWeights, read_registry

    try:
        installed = read_registry(load_settings().worker.weights).reported_models
    except BadWeights as error:
        typer.echo(f"weights: {error}", err=True)
        raise typer.Exit(1) from None
    if any((card.name, card.version) == (model, version) for card in installed):
        typer.echo(
            f"{model} {version} is still installed and would give the same results: first install the "
            "weights that replace it, or use `neurotriage reprocess`",
            err=True,
        )
        raise typer.Exit(1)


def print_table(analyses: Sequence[Any]) -> None:
    """Print a line per analysis (``db.studies.recall.Produced``)."""
    from rich.table import Table

    table = Table("study", "revision", "outcome", "analysed", "objects", "sent", "")
    for item in analyses:
        table.add_row(
            item.study_instance_uid,
            str(item.revision),
            item.outcome,
            f"{item.analysed_at:%Y-%m-%d %H:%M}",
            str(item.objects),
            str(item.stored),
            "superseded" if item.superseded else "",
        )
    print_whole(table)
