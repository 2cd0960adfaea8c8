"""The command line, one file per command."""

import sys

import typer

from neurotriage import __version__
from neurotriage.cli.operations import alarms, backup, pause, release, status
from neurotriage.cli.services import demo, listen, metrics, serve, stow, watch, work
from neurotriage.cli.setup import certs, conformance, doctor, engines, migrate, settings, weights
from neurotriage.cli.studies import (
    commitments,
    complete,
    identity,
    import_folder,
    prioritise,
    pull,
    recall,
    reject,
    reprocess,
    results,
    retry,
    rules,
    run,
    summary,
    why,
)
from neurotriage.core.errors import SetupError, Unavailable
from neurotriage.core.process import lean
from neurotriage.core.process.threads import calm_threads
from neurotriage.core.settings import ConfigurationError

app = typer.Typer(
    name="neurotriage",
    help="Head-imaging triage for CT and MR. Research software: not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

COMMANDS = (
    demo,
    serve,
    listen,
    stow,
    work,
    metrics,
    watch,
    import_folder,
    pull,
    migrate,
    run,
    status,
    alarms,
    results,
    summary,
    why,
    prioritise,
    complete,
    retry,
    reprocess,
    recall,
    release,
    pause,
    commitments,
    identity,
    reject,
    backup,
    doctor,
    certs,
    conformance,
    engines,
)
for command in COMMANDS:
    command.register(app)
app.add_typer(rules.app, name="rules")
app.add_typer(settings.app, name="settings")
app.add_typer(weights.app, name="weights")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"neurotriage {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Head-imaging triage for CT and MR. Research software: not for diagnosis."""


def main() -> None:
    """Run the command line; errors that are no bug end it with a line, not a traceback."""
    calm_threads()
    if sys.argv[1:2] == ["listen"]:
        lean.leave_out(lean.NEVER_CALLED)  # it parses nothing that it receives
    try:
        app()
    except ConfigurationError as error:
        typer.echo(f"configuration: {error}", err=True)
        sys.exit(2)
    except (SetupError, Unavailable) as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except OSError as error:  # a folder that cannot be written, a port that is taken
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"{where}{error.strerror or error}", err=True)
        sys.exit(1)
