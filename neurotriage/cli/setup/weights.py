"""``neurotriage weights``: the model weights of this installation."""

from pathlib import Path

import typer

from neurotriage.core.settings import load_settings

app = typer.Typer(help="The model weights.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """The model weights."""


@app.command()
def verify() -> None:
    """Compare weights with their hashes and stored answers.

    Exit 1 where one must not be used.

    Example: neurotriage weights verify
    """
    from worker.vision.registry import BadWeights, read_registry
    from worker.vision.registry.loading import load_fusion, load_network
    from worker.vision.registry.self_check import check, check_fusion

    folder = load_settings().worker.weights
    try:
        registry = read_registry(folder)
        registry.verify_all()
        for card in registry.cards.values():
            check(load_network(card, folder), card)
            typer.echo(f"{card.name} {card.version} ({card.modality}) {card.sha256[:12]} ok")
        fusion = registry.fusion
        if fusion is not None:
            check_fusion(load_fusion(fusion, folder), fusion)
            typer.echo(f"{fusion.name} {fusion.version} ({'+'.join(fusion.members)}) {fusion.sha256[:12]} ok")
    except BadWeights as error:
        typer.echo(f"weights: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def onnx(
    out: Path = typer.Option(..., help="Folder for the files, one for each model."),
) -> None:
    """Write every model as an ONNX file.

    For sites that serve models elsewhere. Input: slices (N, 1, S, S) in 0..1; outputs: the logits and maps of
    the network. The fusion's inputs ct and mr are the members' pooled and deepest features, concatenated;
    given (N, 2) says which modalities are there. Needs the extra engines.

    Example: neurotriage weights onnx --out models
    """
    from neurotriage.core.errors import SetupError
    from worker.vision.engines.onnx import export_fusion_onnx, export_onnx
    from worker.vision.registry import read_registry
    from worker.vision.registry.loading import load_fusion, load_network

    folder = load_settings().worker.weights
    try:
        registry = read_registry(folder)
        registry.verify_all()
        for card in registry.cards.values():
            path = out / f"{card.name}-{card.version}.onnx"
            export_onnx(load_network(card, folder), card.input_px, path)
            typer.echo(f"{path} ({card.input_px} px)")
        fusion = registry.fusion
        if fusion is not None:
            path = out / f"{fusion.name}-{fusion.version}.onnx"
            export_fusion_onnx(load_fusion(fusion, folder), path)
            typer.echo(f"{path}")
    except SetupError as error:
        typer.echo(f"weights: {error}", err=True)
        raise typer.Exit(1) from None
