"""``neurotriage engines``: which inference engine is best on this host."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from neurotriage.cli.tables import print_whole
from neurotriage.core.settings import load_settings

if TYPE_CHECKING:
    from worker.vision.engines import Choice
    from worker.vision.engines.measure import Trial
    from worker.vision.registry.registry import ModelCard

MAX_VAL, MAX_TRAIN = 480, 96  # slices on which engines are compared, and by which int8 learns its ranges


def register(app: typer.Typer) -> None:
    app.command()(engines)


def engines(
    manifest: Path | None = typer.Option(
        None, help="CSV of labelled slices (splits train and val), without which int8 is never chosen."
    ),
    model: str = typer.Option("", help="This model of the registry instead of those that may answer."),
) -> None:
    """Find the fastest inference engine of this host.

    The fastest that answers as the reference does. What is found lies below the storage folder and holds for
    these weights, this processor and this number of threads. It takes minutes; nothing else should run
    meanwhile.

    Example: neurotriage engines --manifest data/manifest.csv
    """
    import torch

    from neurotriage.core.storage import Storage
    from worker.vision.engines import write_choice
    from worker.vision.engines.eager import folded
    from worker.vision.engines.measure import choose
    from worker.vision.registry import registry
    from worker.vision.registry.rule import deciding_models
    from worker.vision.registry.verify import verify_all

    settings = load_settings()
    limits, folder = settings.worker, Storage(settings.storage.root).engines
    if limits.threads:
        torch.set_num_threads(limits.threads)
    try:
        verify_all(limits.weights)
        for card in [registry.card(model, limits.weights)] if model else deciding_models(limits.weights):
            network = folded(registry.load(card, limits.weights))
            choice = choose(network, card, _trial(card, manifest), folder, limits.threads)
            path = write_choice(folder, choice, limits.threads)
            _show(choice, path)
    except registry.BadWeights as error:
        typer.echo(f"weights: {error}", err=True)
        raise typer.Exit(1) from None
    if limits.engine != "auto":
        typer.echo(f"the setting [worker] engine = {limits.engine!r} overrides what was measured")


def _trial(card: "ModelCard", manifest: Path | None) -> "Trial":
    from worker.vision.engines.measure import Trial
    from worker.vision.registry.self_check import drawn_slices

    if manifest is None:
        return Trial(drawn_slices(card.input_px))
    from training.data.manifest import read
    from training.evaluation.metrics import auc_roc
    from training.evaluation.predict import labelled_slices

    rows = read(manifest, card.modality)
    slices, truth = labelled_slices(rows.of_split("val"), card.input_px, MAX_VAL)
    calibration, _ = labelled_slices(rows.of_split("train"), card.input_px, MAX_TRAIN)
    return Trial(slices, lambda scores: auc_roc(truth, scores), calibration)


def _show(choice: "Choice", path: Path) -> None:
    from rich.table import Table

    from worker.vision.engines import allowed

    table = Table(title=f"{choice.model} on {choice.host}")
    for heading in ("engine", "slices/s", "largest difference of p", "AUC lost on val", ""):
        table.add_column(heading, justify="left" if heading in ("engine", "") else "right")
    for found in choice.measured:
        verdict = "chosen" if found.engine == choice.engine else "" if allowed(found) else "not exact enough"
        table.add_row(
            found.engine,
            "-" if found.problem else f"{found.slices_per_s:.1f}",
            "-" if found.problem else f"{found.max_abs_dp:.4f}",
            "-" if found.auc_loss is None else f"{found.auc_loss:.4f}",
            found.problem or verdict,
        )
    print_whole(table)
    typer.echo(f"kept in {path}")
