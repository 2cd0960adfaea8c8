"""``neurotriage status`` answers within a second whatever lies in the tables.

    python -m bench.status [STUDIES] [INSTANCES_PER_STUDY]

Rows of a busy site are made by SQL: the studies of 100 days, the newest tenth within the last day, each with
eight objects for one destination; a thousand wait for a worker, and the objects of the last 300 for the
destination. Prints the time of each query and of the whole, and which tables are read from end to end.
"""

import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import Connection, Engine, text

from db import migrate
from db.engine import connect
from db.operations import arrivals, destinations, flow, sizes
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage
from neurotriage.embedded import EmbeddedPostgres
from neurotriage.operations import gather, make_snapshot
from neurotriage.operations.reading import BY_INDEX, Wanted

_RUNS: Final = 5
_ROWS: Final = (
    """insert into studies (study_instance_uid, state, patient_id, issuer_of_patient_id, accession_number,
        study_date, description, first_received_at, last_received_at, priority, priority_basis)
    select '2.25.8.' || n, 'quiet', 'P' || n, '', 'A' || n, '', '', at, at + interval '1 minute',
        case when n % 20 = 0 then 'urgent' else 'routine' end, 'nothing'
    from (select n, now() - case when n <= :studies / 10 then interval '1 day' * n / (:studies / 10)
        else interval '1 day' + interval '99 days' * n / :studies end as at
        from generate_series(:studies, 1, -1) n) made order by at""",
    """insert into series (study_id, series_instance_uid, modality, description, body_part)
    select id, study_instance_uid || '.1', 'CT', '', 'HEAD' from studies""",
    """insert into instances (study_id, series_id, sop_instance_uid, sop_class_uid, digest, size_bytes,
        patient_key, own_result, counts, peer_ae_title, peer_host, received_at)
    select s.id, x.id, s.study_instance_uid || '.' || i, '1.2', md5(s.id || '.' || i), 526000, s.patient_id,
        false, true, 'CT1', '10.1.2.3', s.first_received_at + interval '1 minute' * i / :instances
    from studies s join series x on x.study_id = s.id cross join generate_series(1, :instances) i
    order by s.id, i""",
    """insert into revisions (study_id, number, state, digest, completed_by, ready_at, waiting_since,
        ended_at)
    select id, 1, case when newest <= 1000 then 'ready' else 'analysed' end, '', 'quiet',
        last_received_at + interval '3 seconds', last_received_at + interval '3 seconds',
        case when newest > 1000 then last_received_at + interval '3 seconds' * (2 + id % 7) end
    from (select *, row_number() over (order by first_received_at desc) as newest from studies) s""",
    """insert into analyses (revision_id, study_id, outcome, triage, head_meant, reasons, input_digest,
        software_version, started_at, analysed_at, document)
    select id, study_id, case when id % 1000 = 0 then 'failed' else 'absent' end, 'routine', true, '[]', '',
        '0', ended_at - interval '3 seconds', ended_at, '{}' from revisions where state = 'analysed'""",
    """insert into result_objects (analysis_id, kind, index, sop_class_uid, sop_instance_uid,
        series_instance_uid, path, size_bytes)
    select a.id, 'overlay', i, '1.2', '2.25.9.' || a.id || '.' || i, '2.25.9', '', 300000
    from analyses a cross join generate_series(1, 8) i""",
    """insert into deliveries (result_object_id, destination, state, waiting_since, last_status, next_try_at,
        attempts, stored_at, committed_at, alarmed_at)
    select o.id, 'pacs', case when waits then 'waiting' else 'stored' end, r.ended_at,
        case when waits then 'the destination does not answer' else 'stored' end, now(), 1,
        case when not waits then r.ended_at + interval '2 seconds' end,
        case when not waits then r.ended_at + interval '9 seconds' end,
        case when waits then now() end
    from result_objects o
    join (select *, row_number() over (order by id desc) <= 300 as waits from analyses) a
        on a.id = o.analysis_id
    join revisions r on r.id = a.revision_id""",
    "insert into destination_leases (destination) values ('pacs')",
)
_SILENT_H: Final = 8  # of [operations] silent_alarm_h
_QUERIES: Final = {
    "received": flow.RECEIVED,
    "images": flow.IMAGES,
    "analysed": flow.ANALYSED,
    "delivered": flow.DELIVERED,
    "waiting": destinations.WAITING,
    "stored": destinations.STORED,
    "ended": destinations.ENDED,
    "sizes": sizes.SIZES,
    "arrivals": arrivals.ARRIVALS.replace(":within_s", str(_SILENT_H * 3600)),
}


def fill(connection: Connection, *, studies: int, instances: int) -> None:
    """Make the rows of a busy site in an empty database: ``instances`` in each of ``studies``."""
    for statement in _ROWS:
        connection.execute(text("set local statement_timeout = 0"))
        connection.execute(text(statement), {"studies": studies, "instances": instances})


def scans(connection: Connection, statement: str) -> list[str]:
    """The tables that a statement reads from end to end, as Postgres plans it."""
    lines = connection.execute(text(f"explain {statement}")).scalars()
    return [line.split(" on ")[1].split()[0] for line in lines if "Seq Scan on" in line]


def main() -> None:
    """Fill, measure, print."""
    studies, instances = (int(word) for word in [*sys.argv[1:], "100000", "10"][:2])
    with TemporaryDirectory(prefix="neurotriage-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres", durable=False)
        engine = connect(postgres.start())
        try:
            migrate.upgrade(engine)
            with engine.begin() as connection:
                fill(connection, studies=studies, instances=instances)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("set statement_timeout = 0"))
                connection.execute(text("vacuum analyze"))
            _measure(engine, Path(folder), f"{studies} studies, {studies * instances} instances")
        finally:
            engine.dispose()
            postgres.remove()


def _measure(engine: Engine, folder: Path, what: str) -> None:
    for name, statement in _QUERIES.items():
        with engine.connect() as connection:
            connection.execute(text(BY_INDEX))
            took = [_seconds(connection, statement) for _ in range(_RUNS)]
            print(
                f"{name:10} {1000 * median(took):7.1f} ms  read whole: {scans(connection, statement) or '-'}"
            )
    took = []
    for _ in range(_RUNS):
        begun = time.monotonic()
        made = make_snapshot(gather(engine, Storage(folder), Wanted(_SILENT_H * 3600)), Settings())
        took.append(time.monotonic() - begun)
        if made.missing:
            raise SystemExit(f"not measured: {made.missing}")
    print(f"{what}: snapshot {1000 * median(took):.0f} ms, slowest {1000 * max(took):.0f} ms")


def _seconds(connection: Connection, statement: str) -> float:
    begun = time.monotonic()
    connection.execute(text(statement)).all()
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
