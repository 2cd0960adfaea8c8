"""``neurotriage pull``: fetch listed studies from an archive."""

from datetime import datetime
from pathlib import Path

import typer

from neurotriage.core.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(pull)


def pull(
    source: str = typer.Option(..., "--from", help="The [[destination]], or [[peer]] with a port, to ask."),
    accessions: Path = typer.Option(None, exists=True, dir_okay=False, help="A file of accession numbers."),
    studies: Path = typer.Option(None, exists=True, dir_okay=False, help="A file of StudyInstanceUIDs."),
    get: bool = typer.Option(
        False, "--get", help="C-GET into our spool, in place of C-MOVE to our listener."
    ),
) -> None:
    """Fetch listed studies from an archive.

    A study a line, at the pace and in the hours of [pull]. What became of each line stands in
    FILE.report.csv; called again, it goes on where it was. Exit 1 unless every line is done.

    Example: neurotriage pull --from pacs --accessions list.txt
    """
    from dicom_listener.spool import BackPressure, Spools, open_spool
    from neurotriage.cli.tables import progress
    from neurotriage.core.process.log import set_up_logging
    from neurotriage.core.storage import Storage
    from neurotriage.pull import lines
    from neurotriage.pull.pace import Pace, SystemClock
    from neurotriage.pull.run import pull as pull_lines
    from neurotriage.pull.sources import SPOOL, opened

    set_up_logging()
    settings = load_settings()
    if (accessions is None) == (studies is None):
        raise typer.BadParameter("give --accessions or --studies")
    key: lines.Key = "StudyInstanceUID" if accessions is None else "AccessionNumber"
    listed = accessions or studies
    wanted = lines.read_list(listed)
    report = lines.PullReport(listed.with_name(f"{listed.name}.report.csv"))
    spool = open_spool(settings.storage, SPOOL)
    spool.recover()
    try:
        report.write()
        open_lines = report.open_lines(wanted)
        with opened(settings, source, spool, get=get) as archive, progress() as bar:
            task = bar.add_task("pulling", total=len(wanted), completed=len(wanted) - len(open_lines))

            def on_line(result: lines.LineResult) -> None:
                bar.console.print(result.text, markup=False, highlight=False)
                bar.update(task, advance=1, description="pulling")

            def on_wait(until: datetime, why: str) -> None:
                text = f"waits until {until:%H:%M:%S}, {why}"
                bar.update(task, description=text)
                typer.echo(text, err=True)

            pressure = BackPressure(Spools(Storage(settings.storage.root)))

            def await_room() -> None:
                pressure.look()
                pressure.await_room()

            pace = Pace(settings.pull, SystemClock(), on_wait)
            pull_lines(archive, key, open_lines, report, pace, on_line, await_room)
    finally:
        spool.close()
    ends = [report.results[line] for line in wanted]
    typer.echo(", ".join(f"{count} {state}" for state, count in lines.counted(ends).items()))
    raise typer.Exit(int(any(end.state is not lines.LineState.DONE for end in ends)))
