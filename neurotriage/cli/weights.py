"""``neurotriage weights``: the model weights of this installation."""

import typer

from neurotriage.core.settings import load_settings

app = typer.Typer(help="The model weights.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """The model weights."""


@app.command()
def verify() -> None:
    """Compare every weight file with its recorded hash; exit 1 where one must not be used.

    Example: neurotriage weights verify
    """
    from worker.vision import modalities
    from worker.vision.registry import BadWeights, verify_all

    folder = load_settings().worker.weights
    try:
        modalities(folder)  # reads the study rule, without which no weights are of use
        for card in verify_all(folder):
            typer.echo(f"{card.name} {card.version} ({card.modality}) {card.sha256[:12]} ok")
    except BadWeights as error:
        typer.echo(f"weights: {error}", err=True)
        raise typer.Exit(1) from None
