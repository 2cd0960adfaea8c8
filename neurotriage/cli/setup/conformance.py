"""``neurotriage conformance``: the DICOM conformance statement of this installation."""

from pathlib import Path

import typer

from neurotriage.core.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(conformance)


def conformance(
    out: Path | None = typer.Option(None, "--out", help="Write to this file; by default it is printed."),
) -> None:
    """Write the DICOM conformance statement.

    For the current configuration, by PS3.2 Annex N, in Markdown.

    Example: neurotriage conformance --out conformance.md
    """
    from neurotriage.conformance import statement  # builds sample objects, so it needs all of pydicom

    text = statement(load_settings())
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
