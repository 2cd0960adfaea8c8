"""``neurotriage rules``: the rules of a site, checked and tried on studies."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from neurotriage.cli import database
from neurotriage.cli.serve_discovery import settings_beside_serve
from neurotriage.core.settings import load_settings
from neurotriage.core.wording import counted

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from neurotriage.cli.studies.rule_trial import Trial, TriedSeries

MAX_LAST: Final = 1000

app = typer.Typer(help="The rules of this site for the choice of series.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """The rules of this site for the choice of series."""


@app.command()
def check(
    rules: Path = typer.Argument(..., help="A TOML file of rules: see docs/rules.md."),
) -> None:
    """Check a file of rules and list them.

    Exit 2 where a service would not start with it; each wrong key is named in a line.

    Example: neurotriage rules check rules.toml
    """
    from worker.selection import read_rules

    read = read_rules(rules)
    for number, rule in enumerate(read.rules, 1):
        sentence = f": {rule.reason}" if rule.reason else ""
        typer.echo(f"{number} {rule.action:6} {rule.name}{sentence}")
    typer.echo(f"{counted(len(read.rules), 'rule')}, SHA-256 {read.sha256}")


@app.command("test")
def try_on_studies(
    rules: Path = typer.Argument(..., help="A TOML file of rules: see docs/rules.md."),
    study: str = typer.Argument(
        "", help="A folder of DICOM files, or a received study: StudyInstanceUID or accession number."
    ),
    last: int = typer.Option(
        0, "--last", min=0, max=MAX_LAST, help="The last so many received studies; shows what would change."
    ),
) -> None:
    """Show which rule decides on each series of studies, and what would change.

    Against the built-in rules, and against those of [selection] where there are any. Changes nothing. Headers
    alone are read: a series that is taken here may still be refused by its pixels.

    Example: neurotriage rules test rules.toml ./studies
    """
    from neurotriage.cli.studies.rule_trial import Trial, print_table
    from worker.selection import read_rules
    from worker.vision import BadWeights, read_registry

    if bool(study) == bool(last):
        raise typer.BadParameter("give a folder or a study, or else --last")
    settings = load_settings()
    tried, configured = read_rules(rules), read_rules(settings.selection.rules)
    try:
        rule = read_registry(settings.worker.weights).eligibility
    except BadWeights as error:
        typer.echo(f"weights: {error}", err=True)
        raise typer.Exit(1) from None
    trial = Trial(rule, tried, configured if settings.selection.rules else None)
    if study and Path(study).is_dir():
        series = _of_folder(trial, Path(study))
    else:
        with database.engine() as engine:
            series = _of_received(trial, engine, study, last)
    changed = [item for item in series if item.changed]
    shown = changed if last else series
    if shown:
        print_table(shown)
    typer.echo(f"{len(changed)} of {len(series)} series would end otherwise")


def _of_folder(trial: "Trial", folder: Path) -> "list[TriedSeries]":
    from neurotriage.dicom.manifest import scan_folder

    studies = scan_folder(folder).studies
    if not studies:
        typer.echo(f"{folder} holds no DICOM study", err=True)
        raise typer.Exit(1)
    return [series for study in studies for series in trial.series_of(study, "")]


def _of_received(trial: "Trial", engine: "Engine", study: str, last: int) -> "list[TriedSeries]":
    """Each study in a transaction of its own, so that none is open while headers are read."""
    from rich.console import Console
    from rich.progress import track

    from db import queries
    from db.studies import analyses
    from db.studies.manifest import read_manifest
    from neurotriage.core.storage import Storage

    storage = Storage(settings_beside_serve().storage.root)
    with engine.connect() as connection:
        ids = queries.find_studies(connection, study) if study else None
        revisions = queries.newest_revisions(connection, study_ids=ids, limit=last or MAX_LAST)
    if not revisions:
        what = f"{study} is no folder, and no such study" if study else "no study"
        typer.echo(f"{what} was received whole", err=True)
        raise typer.Exit(1)
    series: list[TriedSeries] = []
    progress = track(
        revisions, "reading headers", console=Console(stderr=True), transient=True, disable=not last
    )
    for study_id, revision_id in progress:
        with engine.connect() as connection:
            manifest = read_manifest(connection, revision_id, storage)
            peer, _ = analyses.sender(connection, study_id)
        series += trial.series_of(manifest, peer)
    return series
