"""``neurotriage doctor``: check the set-up before the first patient."""

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from neurotriage.cli.serve_discovery import settings_beside_serve
from neurotriage.cli.tables import print_whole

if TYPE_CHECKING:
    from neurotriage.doctor import Part

_SIGNS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[red]FAILED[/]"}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    destination: str = typer.Option("", help="Check only the destination of this name."),
    store: bool = typer.Option(
        False,
        "--store",
        help="Store a test study (patient NEUROTRIAGE TEST) in each destination and query it.",
    ),
    await_echo: float = typer.Option(
        0.0,
        min=0.0,
        help="While no listener runs: wait this many seconds for a C-ECHO from each destination.",
    ),
    install: bool = typer.Option(
        False,
        "--install",
        help="Look at this host's installation, too: user, file modes, open files, clock, units of systemd.",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Check the whole set-up, and say what to correct.

    Exit 1 if a check failed. Nothing is written to a PACS without --store.

    Example: neurotriage doctor --destination pacs --store
    """
    from neurotriage import doctor as examination  # pulls in pynetdicom, Celery and SQLAlchemy
    from neurotriage.core.process.log import set_up_logging

    set_up_logging()
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # the table has what it reports
    settings = settings_beside_serve()
    if destination and destination not in {configured.name for configured in settings.destination}:
        typer.echo(f"no [[destination]] has the name {destination}", err=True)
        raise typer.Exit(2)
    if await_echo:
        typer.echo(examination.echo_instructions(settings), err=True)
    asked = examination.Options(
        destination=destination, store=store, await_echo_s=await_echo, install=install
    )
    parts = examination.examine(examination.probes(settings, asked))
    if as_json:
        typer.echo(json.dumps([asdict(part) for part in parts], indent=2))
    else:
        print_table(parts)
    failed = any(check.state is examination.State.FAILED for part in parts for check in part.checks)
    if any(part.hangs for part in parts):
        # Python would wait for a thread that hangs in a library, or abort there with another exit code.
        sys.stdout.flush()
        os._exit(int(failed))
    raise typer.Exit(int(failed))


def print_table(parts: Sequence["Part"]) -> None:
    """Print a row for each check, with the advice below the result."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("part", "check", "", "result, and what to do")
    for part in parts:
        for place, check in enumerate(part.checks):
            text = escape(f"{check.said}\n{check.advice}".strip())
            table.add_row(
                "" if place else part.name,
                check.subject,
                _SIGNS[check.state],
                text,
                end_section=check is part.checks[-1],
            )
    print_whole(table)
