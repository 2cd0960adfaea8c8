"""``neurotriage recall``: what a model produced, and its analysis anew."""

from collections.abc import Sequence
from typing import Any

import typer

from neurotriage.cli import database
from neurotriage.cli.tables import print_whole
from neurotriage.core.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(recall)


def recall(
    model: str = typer.Argument(..., help="Name of the model."),
    version: str = typer.Argument(..., help="Its version."),
    again: bool = typer.Option(
        False, "--again", help="Analyse these studies again with the models of today, and send revisions."
    ),
) -> None:
    """List a model's studies; with --again take its results back.

    Destinations with rejection_notes get a note that names what is withdrawn.
    Example: neurotriage recall mr-teacher 0.1.0 --again
    """
    from db import recall as recalled

    with database.engine() as engine, engine.begin() as connection:
        found = recalled.produced(connection, model, version)
        if not found:
            typer.echo(f"no study was analysed by {model} {version}", err=True)
            raise typer.Exit(1)
        print_table(found)
        if not again:
            return
        _refuse_if_installed(model, version)
        current = {item.study_id for item in found if not item.superseded}
        made = [recalled.analyse_again(connection, study_id, model, version) for study_id in sorted(current)]
    typer.echo(f"{len(made) - made.count(None)} of {len(made)} studies will be analysed again")
    if None in made:
        typer.echo(f"{made.count(None)} are about to be analysed anyway")


def _refuse_if_installed(model: str, version: str) -> None:
    """The same model would say the same again."""
    from worker.vision.registry.registry import BadWeights
    from worker.vision.registry.rule import reported_models

    try:
        installed = reported_models(load_settings().worker.weights)
    except BadWeights as error:
        typer.echo(f"weights: {error}", err=True)
        raise typer.Exit(1) from None
    if any((card.name, card.version) == (model, version) for card in installed):
        typer.echo(
            f"{model} {version} is still installed and would say the same again: install the weights that "
            "replace it first, or analyse studies afresh with `neurotriage reprocess`",
            err=True,
        )
        raise typer.Exit(1)


def print_table(found: Sequence[Any]) -> None:
    """One line per analysis (``db.recall.Produced``) for a terminal."""
    from rich.table import Table

    table = Table("study", "revision", "outcome", "analysed", "objects", "sent", "")
    for item in found:
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
