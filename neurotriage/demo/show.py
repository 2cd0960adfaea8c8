"""The demo: the whole product on this host, with studies sent to it and a PACS that takes the results."""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from rich.console import Console
from sqlalchemy import Engine

from db import queries
from db.engine import connect
from neurotriage.core.result_json import study_entry
from neurotriage.core.settings import CONFIG_VARIABLE, Settings
from neurotriage.demo import present
from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.submission import DemoFailed, Submission, folder_studies, sample_studies, send_all
from neurotriage.embedded.process import LOOPBACK
from neurotriage.embedded.stack import Stack

_QUIET_S: Final = 2.0
_SWEEP_S: Final = 2.0
_PATIENCE_S: Final = 420.0  # for all studies together, on a slow host
_LOOK_EVERY_S: Final = 0.25


def show(folder: Path | None, output: Path, console: Console) -> None:
    """Run the demo with the sample studies, or with the studies of ``folder``.

    Everything is written below ``output``, which is emptied first. Raises ``DemoFailed``.
    """
    begun = time.monotonic()
    if folder and folder.resolve().is_relative_to(output.resolve()):
        raise DemoFailed(f"{folder} lies in {output}, which is emptied first; choose another --output")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    console.print("[bold]neurotriage demo[/]: research software, not for diagnosis\n")
    studies = folder_studies(folder) if folder else sample_studies(output / "studies", console)
    os.environ[CONFIG_VARIABLE] = os.devnull  # the demo does not depend on the configuration of this host
    with StandInPacs(output / "pacs", ae_title="PACS") as pacs:
        console.print(f"stand-in PACS listens on port {pacs.port}")
        with Stack(_settings(output, pacs.port), output / "servers", ephemeral=True) as stack:
            listener = stack.settings.listener
            console.print(f"Postgres, Valkey, workers and listener are up (port {listener.port})\n")
            engine = connect(stack.settings.database.url)
            try:
                studies = send_all(studies, listener.port, console)
                _wait(engine, studies, stack, console)
                _present(engine, studies, pacs, output, console)
            finally:
                engine.dispose()
    console.print(f"\ndone in {time.monotonic() - begun:.0f} s; everything lies in {output}")


def _settings(output: Path, pacs_port: int) -> Settings:
    return Settings.model_validate(
        {
            "listener": {"port": 0},
            "assembly": {"quiet_s": _QUIET_S},
            "storage": {"root": output / "storage", "min_free_bytes": 0},
            "worker": {"sweep_s": _SWEEP_S, "engine": "openvino"},  # named: nobody waits for a measurement
            "destination": [
                {
                    "name": "pacs",
                    "ae_title": "PACS",
                    "host": LOOPBACK,
                    "port": pacs_port,
                    "report_unanalysed": "all",
                }
            ],
        }
    )


def _wait(engine: Engine, studies: Sequence[Submission], stack: Stack, console: Console) -> None:
    """Follow the studies through the tables until each has an outcome and nothing waits to be sent."""
    deadline = time.monotonic() + _PATIENCE_S
    shown: dict[str, str] = {}
    with console.status("waiting") as status:
        while time.monotonic() < deadline:
            rows = _rows(engine, studies)
            for study in studies:
                step = present.progress(rows.get(study.study_instance_uid))
                if shown.get(study.study_instance_uid) != step:
                    shown[study.study_instance_uid] = step
                    console.print(f"  {study.name}: {step}")
            if all(_ended(rows.get(study.study_instance_uid)) for study in studies):
                return
            if dead := stack.dead():
                raise DemoFailed("\n".join(f"{role} ended:\n{log}" for role, log in dead.items()))
            status.update(f"waiting ({deadline - time.monotonic():.0f} s left)")
            time.sleep(_LOOK_EVERY_S)
    raise DemoFailed(f"not done after {_PATIENCE_S:.0f} s; the logs are in {stack.folder}")


def _rows(engine: Engine, studies: Sequence[Submission]) -> dict[str, Mapping[str, Any]]:
    with engine.connect() as connection:
        rows = queries.study_results(connection, limit=10_000)
    wanted = {study.study_instance_uid for study in studies}
    return {row["study_instance_uid"]: row for row in rows if row["study_instance_uid"] in wanted}


def _ended(row: Mapping[str, Any] | None) -> bool:
    return row is not None and row["outcome"] is not None and row["deliveries_waiting"] == 0


def _present(
    engine: Engine, studies: Sequence[Submission], pacs: StandInPacs, output: Path, console: Console
) -> None:
    entries = []
    stored = [dcmread(path) for path in pacs.received().values()]
    for number, study in enumerate(studies, 1):
        with engine.connect() as connection:
            (study_id,) = queries.find_studies(connection, study.study_instance_uid)
            history = queries.history(connection, study_id)
        console.print(f"\n[bold]{study.name}[/]")
        console.print(present.outcome_table(history))
        results = [dataset for dataset in stored if dataset.StudyInstanceUID == study.study_instance_uid]
        # Numbered: the ends of two UIDs may be the same.
        place = output / "results" / f"{number:02d}-{study.study_instance_uid[-12:]}"
        present.write_results(results, place, console)
        if history.analysis is not None:
            words = None if history.text is None else history.text.summary
            present.print_text(words, console)
            entries.append(study_entry(history.analysis, history.objects, history.hops_s, summary=words))
        if study.sample is not None:
            console.print(present.truth(study.sample, history))
    (output / "result.json").write_text(json.dumps(entries, indent=2))
    console.print("\n[bold]The database, view study_results[/]")
    console.print(present.database_table(_rows(engine, studies).values()))
