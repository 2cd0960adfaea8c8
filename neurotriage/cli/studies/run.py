"""``neurotriage run``: analyse a folder without any network or server."""

from pathlib import Path

import typer

from neurotriage.core.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(run)


def run(
    folder: Path = typer.Argument(
        ..., exists=True, file_okay=False, help="A folder of DICOM files; subfolders are searched."
    ),
    out: Path = typer.Option(..., "--out", help="Folder for the results: *.dcm, *.png and result.json."),
) -> None:
    """Analyse every study in a folder. Needs no server; exit 0 if each study got a named outcome.

    Example: neurotriage run ./studies --out ./results
    """
    from neurotriage.cli.studies.folder_run import line, run_folder, told  # pydicom takes its time to import
    from neurotriage.core.process.log import set_up_logging
    from worker.vision import BadWeights

    set_up_logging()
    try:
        entries = run_folder(load_settings(), folder, out)
    except BadWeights as error:
        typer.echo(f"weights: {error}", err=True)
        raise typer.Exit(1) from None
    for entry in entries:
        typer.echo(line(entry))
        for words in told(entry):
            typer.echo(f"    {words}")
