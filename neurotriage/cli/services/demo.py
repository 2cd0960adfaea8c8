"""``neurotriage demo``: the whole product on this host, from image to result."""

import signal
from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    folder: Path | None = typer.Argument(
        None, exists=True, file_okay=False, help="A folder of DICOM studies; by default sample studies."
    ),
    output: Path = typer.Option(Path("demo-output"), help="Folder for the results; emptied first."),
) -> None:
    """Send studies through the whole product; show what comes back.

    Everything runs on this host, with servers of its own, and ends with the command.

    Example: neurotriage demo ./studies
    """
    from rich.console import Console

    from neurotriage.core.errors import Unavailable
    from neurotriage.demo.show import show
    from neurotriage.demo.submission import DemoFailed

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the servers, too
    console = Console(soft_wrap=True)
    try:
        show(folder, output.absolute(), console)
    except (DemoFailed, Unavailable) as error:
        console.print(f"the demo failed: {error}", markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("stopped; no process is left")
        raise typer.Exit(130) from None
