"""``neurotriage certs``: certificates for a trial of TLS."""

from pathlib import Path

import typer

from neurotriage.core.settings import AE_TITLE


def register(app: typer.Typer) -> None:
    app.command()(certs)


def certs(
    folder: Path = typer.Argument(..., file_okay=False, help="Folder for the files."),
    host: list[str] = typer.Option(
        ["localhost", "127.0.0.1"], help="Name or address under which the listener is reached; repeatable."
    ),
    peer: list[str] = typer.Option(["peer"], help="A peer that gets a certificate; repeatable."),
    days: int = typer.Option(365, min=1, help="How long they hold."),
) -> None:
    """Make a test authority and certificates.

    For a trial of TLS: ca.pem, listener.pem with its key, and a pair per peer. The key of the authority is
    not kept, so nobody can sign more with it. For service, have your own authority sign instead.

    Example: neurotriage certs ./certs --host triage.example.org --peer CT1
    """
    from dicom_listener.admission.certificates import TestAuthority

    unusable = [name for name in peer if not AE_TITLE.fullmatch(name) or "/" in name]
    if unusable:
        typer.echo(f"{', '.join(unusable)}: a peer needs an AE title without slash", err=True)
        raise typer.Exit(2)
    if (folder / "ca.pem").exists():
        typer.echo(f"{folder}: there are certificates already; choose another folder", err=True)
        raise typer.Exit(2)
    try:
        authority = TestAuthority(folder, days)
        listener = authority.pair("listener", host)
        pairs = {name: authority.pair(name, []) for name in dict.fromkeys(peer)}
    except (OSError, ValueError) as error:
        typer.echo(f"{folder}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(
        f'[listener.tls]\ncertificate = "{listener.certificate.absolute()}"\n'
        f'key = "{listener.key.absolute()}"\nca = "{authority.certificate.absolute()}"'
    )
    for name, pair in pairs.items():
        typer.echo(f'\n[[peer]]\nae_title = "{name}"\ncertificate_sha256 = "{pair.sha256}"')
