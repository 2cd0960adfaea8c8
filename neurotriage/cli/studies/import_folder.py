"""``neurotriage import``: take the DICOM files of a folder as if they had been sent."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from neurotriage.core.settings import load_settings

if TYPE_CHECKING:
    from dicom_listener.files.folder_import import Summary
    from dicom_listener.spool import Spool

_SHOWN: Final = 50
_INGESTED_WITHIN_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.1


def register(app: typer.Typer) -> None:
    app.command(name="import")(import_folder)


def import_folder(
    folder: Path = typer.Argument(
        ..., exists=True, help="A folder of DICOM files, with its subfolders; or the DICOMDIR of a medium."
    ),
) -> None:
    """Take the DICOM files of a folder as if they had been sent.

    Data sets are kept byte for byte. Once it is interrupted, call it again: what was taken before is counted
    as repeated. Exit 1 if a DICOM file was refused, or one is missing that a DICOMDIR lists.

    Example: neurotriage import /media/cdrom
    """
    from dicom_listener.files.folder import files_of
    from dicom_listener.files.folder_import import SPOOL, FolderImport
    from dicom_listener.spool import open_spool
    from neurotriage.cli.tables import progress
    from neurotriage.core.process.log import set_up_logging
    from neurotriage.core.storage import Storage

    set_up_logging()
    settings = load_settings()
    root = folder if folder.is_dir() else folder.parent
    storage = Storage(settings.storage.root)
    spool = open_spool(settings.storage, SPOOL)
    spool.recover()
    try:
        found = files_of(root)
        with progress() as bar:
            task = bar.add_task("importing", total=len(found.files))
            run = FolderImport(storage, spool, settings.listener.ae_title)
            summary = run.run(root, found, lambda: bar.advance(task))
        for line in lines(summary):
            typer.echo(line)
        _tell_of_ingester(spool)
    finally:
        spool.close()
    raise typer.Exit(int(bool(summary.reasons)))


def lines(summary: "Summary") -> list[str]:
    """The summary as lines of text."""
    text = [f"{summary.taken} taken, {summary.repeated} repeated, {summary.reasons.total()} refused"]
    if summary.other_files:
        text.append(f"{summary.other_files} files are no DICOM files")
    text += [f"refused: {skipped.name}: {skipped.reason}" for skipped in summary.refused[:_SHOWN]]
    if summary.reasons.total() > _SHOWN:
        text.append(f"refused: {summary.reasons.total()} in all:")
        text += [f"  {count} x {reason}" for reason, count in summary.reasons.most_common(_SHOWN)]
    return text


def _tell_of_ingester(spool: "Spool") -> None:
    """Say so where nothing takes the files out of the spool."""
    waiting = len(spool.waiting())
    deadline = time.monotonic() + _INGESTED_WITHIN_S
    while waiting and len(spool.waiting()) >= waiting:
        if time.monotonic() > deadline:
            typer.echo(
                f"{waiting} instances wait in the spool, and nothing records them: "
                "start `neurotriage listen` or `neurotriage serve`",
                err=True,
            )
            return
        time.sleep(_LOOK_EVERY_S)
