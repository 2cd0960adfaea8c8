"""``neurotriage pause`` and ``resume``: analysis or a destination rests, for maintenance."""

import re

import typer

from neurotriage.cli import database
from neurotriage.cli.asked import checked_reason, made_by
from neurotriage.core.settings import load_settings

_UNITS_S = {"m": 60, "h": 3600, "d": 86400}


def register(app: typer.Typer) -> None:
    app.command()(pause)
    app.command()(resume)


def pause(
    what: str = typer.Argument(
        "", help="'analysis', or the name of a [[destination]]; nothing: say what rests."
    ),
    duration: str = typer.Option("", "--for", help="Go on by itself after 30m, 2h or 1d."),
    reason: str = typer.Option("", help="Why, for the record."),
) -> None:
    """Let analysis or a destination rest, without losing anything.

    Studies are received meanwhile, and what waits goes on in its order once it is resumed. What has begun is
    ended first: the study in work, the object on its way.

    Example: neurotriage pause pacs --for 2h --reason "archive is upgraded"
    """
    from db import pauses

    with database.engine() as engine, engine.begin() as connection:
        if what:
            for_s = _seconds(duration) if duration else None
            pauses.pause(
                connection, _known(what), made_by=made_by(), reason=checked_reason(reason), for_s=for_s
            )
        elif duration or reason:
            raise typer.BadParameter("say what is to rest")
        standing = pauses.standing(connection)
    for item in standing:
        until = f"{item.until.astimezone():%Y-%m-%d %H:%M:%S}" if item.until else "somebody resumes it"
        since = f"{item.since.astimezone():%Y-%m-%d %H:%M:%S}"
        typer.echo(f"{item.name}  rests since {since} until {until}; {item.made_by}: {item.reason}")
    if not standing:
        typer.echo("nothing rests")


def resume(what: str = typer.Argument(..., help="'analysis', or the name of a [[destination]].")) -> None:
    """Let go on what was paused.

    Example: neurotriage resume pacs
    """
    from db import pauses

    with database.engine() as engine, engine.begin() as connection:
        rested = pauses.resume(connection, what, made_by=made_by())
    if not rested:
        typer.echo(f"{what} did not rest", err=True)
        raise typer.Exit(1)
    typer.echo(f"{what} goes on")


def _known(name: str) -> str:
    destinations = [destination.name for destination in load_settings().destination]
    if name != "analysis" and name not in destinations:
        known = ", ".join(("analysis", *destinations))
        raise typer.BadParameter(f"{name} is neither analysis nor a [[destination]]; known: {known}")
    return name


def _seconds(duration: str) -> float:
    match = re.fullmatch(r"([1-9]\d{0,3})([mhd])", duration)
    if match is None:
        raise typer.BadParameter("--for: a number with m, h or d, such as 30m")
    return float(int(match[1]) * _UNITS_S[match[2]])
