"""``neurotriage alarms``: what stands, what was told of it, and by whom it is acknowledged."""

import getpass
import re
import socket
from typing import TYPE_CHECKING, Final

import typer

from neurotriage.cli import database
from neurotriage.cli.serve_discovery import settings_beside_serve
from neurotriage.core.settings import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_LIMIT: Final = 200
_UNITS_S: Final = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


def register(app: typer.Typer) -> None:
    app.command()(alarms)


def alarms(
    history: bool = typer.Option(False, "--all", help="Also those that ended: the newest 200."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    acknowledge: str = typer.Option(
        "", "--acknowledge", help="Take note of the standing alarms CODE, or of one: CODE/SUBJECT."
    ),
    for_time: str = typer.Option(
        "", "--for", help="With --acknowledge: for so long (90m, 2h, 1d); default: until it ends."
    ),
    test: bool = typer.Option(False, "--test", help="Send a test message by every channel."),
) -> None:
    """Show which alarms stand, and what was told of them.

    As `neurotriage watch` has found them, with who has acknowledged them.
    An acknowledged alarm is not told again before its end. Exit 1 if nothing has that code and subject, or a
    channel of --test failed.

    Example: neurotriage alarms --acknowledge delivery_waits/pacs --for 2h
    """
    if for_time and not acknowledge:
        raise typer.BadParameter("--for belongs to --acknowledge")
    if test:
        _test()
        return
    with database.engine() as engine:
        if acknowledge:
            _acknowledge(engine, acknowledge, _seconds(for_time))
            return
        _show(engine, ended=history, as_json=as_json)


def _show(engine: "Engine", *, ended: bool, as_json: bool) -> None:
    from db.operations import alarm_history
    from db.operations.alarms import now

    with engine.connect() as connection:
        found = alarm_history.history(connection, ended=ended, limit=_LIMIT)
        at = now(connection)
    if as_json:
        from pydantic import TypeAdapter

        rows = TypeAdapter(tuple[alarm_history.PastAlarm, ...])
        typer.echo(rows.dump_json(found, indent=2).decode())
        return
    if settings_beside_serve().alarms is None:
        typer.echo("the configuration has no table [alarms]: nobody watches", err=True)
    if not found:
        typer.echo("no alarm")
        return
    from neurotriage.cli.operations.alarm_table import table
    from neurotriage.cli.tables import print_whole

    print_whole(table(found, at))


def _acknowledge(engine: "Engine", which: str, for_s: float | None) -> None:
    from db.operations.alarms import acknowledge

    code, slash, subject = which.partition("/")
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    with engine.begin() as connection:
        noted = acknowledge(connection, code, subject if slash else None, by, for_s)
    if not noted:
        typer.echo(f"no alarm {which} stands", err=True)
        raise typer.Exit(1)
    for item in noted:
        typer.echo(f"acknowledged: {' '.join(item).strip()}")


def _seconds(text: str) -> float | None:
    """A length of time as a person writes it; None for none."""
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,4})([mhd])", text)
    if found is None or not int(found[1]):
        raise typer.BadParameter("--for: write 90m, 2h or 1d")
    return int(found[1]) * _UNITS_S[found[2]]


def _test() -> None:
    from neurotriage.operations.telling.channels import Channels, configured
    from neurotriage.operations.telling.message import trial_message

    settings = settings_beside_serve()
    channels = () if settings.alarms is None else configured(settings.alarms)
    if settings.alarms is None or not channels:
        raise ConfigurationError("alarms: no channel is configured: mail, webhook or command")
    failed: list[str] = []

    def took(name: str, error: str | None) -> None:
        typer.echo(f"{name}: {error or 'taken'}", err=error is not None)
        if error is not None:
            failed.append(name)

    message = trial_message()
    sending = Channels(channels, settings.alarms.limit_s)
    sending.send(dict.fromkeys(sending.names, message), took)
    if failed:
        raise typer.Exit(1)
