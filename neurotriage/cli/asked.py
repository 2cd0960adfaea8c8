"""Who asks for something by command, why, and whether they are sure."""

import getpass

import typer

_REASON_LENGTH = 200


def ask(question: str, *, yes: bool) -> None:
    """End with exit code 1 unless the answer is yes."""
    if not yes and not typer.confirm(question):
        typer.echo("nothing was changed")
        raise typer.Exit(1)


def checked_reason(reason: str) -> str:
    """``reason``, or the default one. Raises ``typer.BadParameter``."""
    if not reason.isprintable() or len(reason) > _REASON_LENGTH:
        raise typer.BadParameter(f"--reason: one line of at most {_REASON_LENGTH} characters")
    return reason or "asked for by command"


def made_by() -> str:
    """Who asks, for the record."""
    try:
        return f"command by {getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return "command"
