"""What a backlog costs an urgent study: ``python -m bench.priority [--json FILE]``.

In a database of its own so many studies of the backlog wait. Measured is how long it takes to claim one, and
how many studies workers begin between the moment in which an urgent one is ready and its own turn.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from sqlalchemy import Connection, Engine, text

from db import migrate
from db.engine import connect
from db.studies import leases
from neurotriage.core.priority import Priority
from neurotriage.embedded import EmbeddedPostgres

BACKLOGS: Final = (200, 2000, 20_000)
CLAIMS: Final = 20
ATTEMPTS: Final = 4

_STUDIES: Final = text(
    "insert into studies (study_instance_uid, state, patient_id, issuer_of_patient_id, accession_number, "
    "study_date, description, first_received_at, last_received_at, priority, priority_basis) "
    "select :prefix || n, 'quiet', '', '', '', '', '', now(), now(), :priority, 'peer' "
    "from generate_series(1, :count) n returning id"
)
_REVISIONS: Final = text(
    "insert into revisions (study_id, number, state, digest, completed_by) "
    "select id, 1, 'ready', '', 'quiet' from studies where id = any(:ids) order by id"
)


@dataclass(frozen=True, slots=True)
class Delay:
    """Behind a backlog of ``waiting`` studies."""

    waiting: int
    claim_ms: float  # median of a claim
    slowest_claim_ms: float
    begun_before_urgent: int  # the most of several tries; those in work when it came do not count


def delay_behind(engine: Engine, waiting: int) -> Delay:
    """Let ``waiting`` studies wait, take some, and let an urgent one come after each."""
    with engine.begin() as connection:
        connection.execute(text("truncate studies cascade"))
        _wait(connection, waiting, Priority.BACKLOG, "1.2.")
        connection.execute(text("analyze studies"))
        connection.execute(text("analyze revisions"))
    spent_s, before = [], []
    for number in range(CLAIMS):
        spent_s.append(_claim(engine)[1])
        with engine.begin() as connection:
            (urgent,) = _wait(connection, 1, Priority.URGENT, f"1.3.{number}.")
        begun = 0
        while True:
            study_id, took_s = _claim(engine)
            spent_s.append(took_s)
            if study_id == urgent:
                break
            begun += 1
        before.append(begun)
    return Delay(waiting, round(1000 * median(spent_s), 1), round(1000 * max(spent_s), 1), max(before))


def _wait(connection: Connection, count: int, priority: Priority, prefix: str) -> list[int]:
    """Ids of studies of a class that wait for a worker from now on."""
    values = {"count": count, "priority": priority, "prefix": prefix}
    ids = list(connection.execute(_STUDIES, values).scalars())
    connection.execute(_REVISIONS, {"ids": ids})
    return ids


def _claim(engine: Engine) -> tuple[int, float]:
    """The study that is next, and the seconds that it took to claim it."""
    begun = time.perf_counter()
    with engine.begin() as connection:
        held = leases.claim_next(connection, owner="bench", lease_s=3600, attempts=ATTEMPTS)
    if held is None:
        raise RuntimeError("nothing waits")
    return held.study_id, time.perf_counter() - begun


def main(arguments: Sequence[str]) -> int:
    """Print a line per backlog; with ``--json`` write them, too."""
    parser = argparse.ArgumentParser(prog="python -m bench.priority")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    options = parser.parse_args(arguments)
    delays = []
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres", durable=True)
        engine = connect(postgres.start())
        try:
            migrate.upgrade(engine)
            for waiting in BACKLOGS:
                delays.append(delay_behind(engine, waiting))
                print(delays[-1])
        finally:
            engine.dispose()
            postgres.stop()
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(delay) for delay in delays], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
