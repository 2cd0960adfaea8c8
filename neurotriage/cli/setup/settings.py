"""``neurotriage settings``: the configuration in effect."""

import json
import re
from typing import Any

import typer

from neurotriage.core.settings import ConfigurationError, load_settings, require_protected_ports

app = typer.Typer(help="The configuration.", no_args_is_help=True)

# In a URL: between user and host up to the last @, as a password may contain one; or in the query.
_PASSWORD = re.compile(r"(://[^:@/]*:).+@|([?&]password=)[^&]+")


@app.callback()
def options() -> None:
    """The configuration."""


@app.command()
def show() -> None:
    """Print the whole configuration as JSON, passwords hidden.

    Example: neurotriage settings show
    """
    settings = load_settings()
    typer.echo(json.dumps(_hidden(settings.model_dump(mode="json")), indent=2))
    try:
        require_protected_ports(settings)
    except ConfigurationError as error:
        typer.echo(f"note: {error}", err=True)


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hidden(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return _PASSWORD.sub(_stars, value) if isinstance(value, str) else value


def _stars(match: re.Match[str]) -> str:
    return f"{match[1]}***@" if match[1] else f"{match[2]}***"
