"""``neurotriage engines``: which inference engine is best on this host."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from neurotriage.cli.tables import print_whole
from neurotriage.core.settings import load_settings

if TYPE_CHECKING:
    from worker.vision.engines import Choice


def register(app: typer.Typer) -> None:
    app.command()(engines)


def engines(
    model: str = typer.Option("", help="This model of the registry instead of those that may answer."),
) -> None:
    """Find the fastest inference engine of this host.

    The fastest whose answers agree with those of the reference engine. The choice is kept below the storage
    folder and holds for these weights, this processor and this number of threads. It takes minutes; nothing
    else should run meanwhile. Int8 is measured by python -m training engines only: it needs labelled slices.

    Example: neurotriage engines
    """
    import torch

    from neurotriage.core.storage import Storage
    from worker.vision.engines import write_choice
    from worker.vision.engines.eager import folded
    from worker.vision.engines.measure import Trial, choose
    from worker.vision.registry import BadWeights, read_registry
    from worker.vision.registry.loading import load_network
    from worker.vision.registry.self_check import drawn_slices

    settings = load_settings()
    limits, folder = settings.worker, Storage(settings.storage.root).engines
    if limits.threads:
        torch.set_num_threads(limits.threads)
    try:
        registry = read_registry(limits.weights)
        registry.verify_all()
        models = [registry.card(model)] if model else registry.deciding_models
        networks = {network.sha256: network for card in models for network in card.networks}
        for card in networks.values():
            network = folded(load_network(card, limits.weights))
            choice = choose(network, card, Trial(drawn_slices(card.input_px)), folder, limits.threads)
            path = write_choice(folder, choice, limits.threads)
            _show(choice, path)
    except BadWeights as error:
        typer.echo(f"weights: {error}", err=True)
        raise typer.Exit(1) from None
    if limits.engine != "auto":
        typer.echo(f"the setting [worker] engine = {limits.engine!r} overrides what was measured")


def _show(choice: "Choice", path: Path) -> None:
    from rich.table import Table

    from worker.vision.engines import allowed

    table = Table(title=f"{choice.model} on {choice.host}")
    for heading in ("engine", "slices/s", "largest difference of p", "AUC lost on val", ""):
        table.add_column(heading, justify="left" if heading in ("engine", "") else "right")
    for measured in choice.measured:
        verdict = (
            "chosen" if measured.engine == choice.engine else "" if allowed(measured) else "not exact enough"
        )
        table.add_row(
            measured.engine,
            "-" if measured.problem else f"{measured.slices_per_s:.1f}",
            "-" if measured.problem else f"{measured.max_abs_dp:.4f}",
            "-" if measured.auc_loss is None else f"{measured.auc_loss:.4f}",
            measured.problem or verdict,
        )
    print_whole(table)
    typer.echo(f"kept in {path}")
