"""``neurotriage backup`` and ``neurotriage restore``: database and storage, into a folder and back."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from neurotriage.cli.serve_discovery import Serving, names_servers, runs, serve_folder, settings_beside_serve
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import DatabaseSettings, Settings, config_file, load_settings

if TYPE_CHECKING:
    from rich.progress import TaskID
    from sqlalchemy import Engine

    from neurotriage.backup import Manifest
    from neurotriage.backup.progress import Tell
    from neurotriage.core.storage import Storage

_DATABASE: Final = "postgres"  # the folder of the database of ``serve``


def register(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)


def backup(
    folder: Path = typer.Argument(
        ..., help="The folder of the backup; used again, it is brought up to date."
    ),
    verify: bool = typer.Option(
        False, "--verify", help="Copy nothing; read the backup that is there and compare every hash."
    ),
) -> None:
    """Back up database and storage, while the services run.

    What FOLDER has already is not copied again. Until the new backup is whole, the former one stays. Exit 1
    if files are missing that the database names (FOLDER keeps what it has of them), or with --verify if
    anything is damaged.

    Example: neurotriage backup /mnt/backup/neurotriage
    """
    from neurotriage.backup import back_up

    if verify:
        _verify(folder)
        return
    with _servers(_beside_serve) as (engine, storage), _bar() as tell:
        manifest = back_up(engine, storage, folder, tell)
    typer.echo(f"in {folder}: {_amount(manifest)}, new: {_counted(manifest.copied, 'file')}")
    if manifest.missing:
        missing = _counted(manifest.missing, "file")
        typer.echo(f"the storage lacks {missing} that the database names", err=True)
        raise typer.Exit(1)


def restore(
    folder: Path = typer.Argument(..., help="The folder of the backup.", exists=True, file_okay=False),
) -> None:
    """Restore a backup into an empty installation.

    Database and storage must be empty, and no service may run. Call it again if it was interrupted. Start
    the services afterwards: what waited is taken up.

    Example: neurotriage restore /mnt/backup/neurotriage
    """
    from neurotriage.backup import restore as restore_backup

    with _servers(_without_serve) as (engine, storage), _bar() as tell:
        manifest = restore_backup(engine, storage, folder, tell)
    typer.echo(f"restored as of {manifest.began_at:%Y-%m-%d %H:%M:%S} UTC: {_amount(manifest)}")


def _verify(folder: Path) -> None:
    from neurotriage.backup import damaged_contents

    with _bar() as tell:
        manifest, damage = damaged_contents(folder, tell)
    for sentence in damage:
        typer.echo(sentence, err=True)
    if damage:
        typer.echo("delete these files and back up again, which copies them anew", err=True)
        raise typer.Exit(1)
    typer.echo(f"the backup of {manifest.began_at:%Y-%m-%d %H:%M:%S} UTC is whole: {_amount(manifest)}")


@contextmanager
def _beside_serve(settings: Settings) -> Iterator[Settings]:
    """With the database of a ``serve`` that runs, or else with its database alone."""
    folder = serve_folder(settings)
    if runs(folder):
        yield settings_beside_serve()
        return
    if not (folder / _DATABASE).exists():
        raise Unavailable(
            f"no `neurotriage serve` ever ran in {folder}, and {config_file()} names no database"
        )
    with _without_serve(settings) as alone:
        yield alone


@contextmanager
def _without_serve(settings: Settings) -> Iterator[Settings]:
    """With the database that ``serve`` uses, which must not run. Raises ``Unavailable`` where it does."""
    from neurotriage.embedded import EmbeddedPostgres

    folder = serve_folder(settings)
    with Serving(folder), EmbeddedPostgres(folder / _DATABASE) as postgres:
        yield settings.model_copy(update={"database": DatabaseSettings(url=postgres.start())})


@contextmanager
def _servers(
    unnamed: Callable[[Settings], AbstractContextManager[Settings]],
) -> Iterator[tuple["Engine", "Storage"]]:
    """Database and storage of the configuration; ``unnamed``: of one that names no database."""
    from db.engine import connect, outage_as_unavailable
    from neurotriage.core.storage import Storage

    settings = load_settings()
    with nullcontext(settings) if names_servers(settings) else unnamed(settings) as known:
        engine = connect(known.database.url)
        try:
            with outage_as_unavailable():
                yield engine, Storage(known.storage.root)
        finally:
            engine.dispose()


@contextmanager
def _bar() -> Iterator["Tell"]:
    """Shows progress, a bar for each kind of thing."""
    from neurotriage.cli.tables import progress

    tasks: dict[str, TaskID] = {}
    with progress() as bar:

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=total)

        yield tell


def _amount(manifest: "Manifest") -> str:
    rows, files = _counted(manifest.rows, "row"), _counted(manifest.files, "file")
    return f"{rows}, {files} ({manifest.size_bytes / 1e6:,.1f} MB)"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
