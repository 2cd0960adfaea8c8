"""``neurotriage work``: the side after the queue."""

import typer

from neurotriage.cli import database
from neurotriage.core.process.role import Role
from neurotriage.core.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(work)


def work(
    role: Role = typer.Option(
        ..., help="analysis: models; delivery: results to their destinations; summary: asks a language model."
    ),
    concurrency: int = typer.Option(
        0, min=0, help="Child processes; 0 takes one per destination for delivery, else 1."
    ),
) -> None:
    """Serve one role of the queue: analysis, delivery or summary.

    Until SIGTERM; the running task is finished first.

    Example: neurotriage work --role analysis
    """
    from neurotriage.core.process.log import set_up_logging
    from neurotriage.core.process.yielding import give_way
    from neurotriage.core.storage import Storage
    from worker.tasks import run_worker  # Celery takes half a second to import
    from worker.vision import BadWeights, read_registry

    set_up_logging()
    settings = load_settings()
    database.require_schema(settings)
    if role is Role.ANALYSIS:
        give_way()
        try:
            read_registry(settings.worker.weights).verify_all()
        except BadWeights as error:
            typer.echo(f"weights: {error}", err=True)
            raise typer.Exit(1) from None
    if role is Role.SUMMARY and not settings.summary.asks:
        typer.echo("[summary] provider is none: there is no model to ask", err=True)
        raise typer.Exit(1)
    Storage(settings.storage.root).shut()
    default = max(1, len(settings.destination)) if role is Role.DELIVERY else 1
    run_worker(settings, role, concurrency=concurrency or default)
