"""The throughput of listener and ingest: ``python -m bench.listener [--json FILE]``.

Receive: instances of a made CT sent over real associations, from the first A-ASSOCIATE-RQ to the last status
0x0000, each durable by then. Baseline: the same bytes written to files with an fsync each. Ingest: the same
instances from the spool to rows and the store, parsed in children, Postgres with fsync. Baseline: the same
rows by a plain INSERT each, with as many commits. Rates are medians, in instances per second.
"""

import argparse
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import structlog
from sqlalchemy import Engine, insert, select, text

from db import migrate
from db.engine import connect
from db.tables import Base, Instance
from dicom_listener.ingest.header_readers import HeaderReaders
from dicom_listener.ingest.ingest import GROUP, Ingest
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.server import Listener
from neurotriage.core.settings import DeliverySettings, Settings
from neurotriage.core.storage import Storage
from neurotriage.demo.send import send
from neurotriage.embedded import EmbeddedPostgres
from neurotriage.embedded.process import LOOPBACK
from neurotriage.phantom import make_study

INSTANCES = 128  # of 512 x 512 pixels, 16 bits: half a megabyte each
SIDE_PX = 512
ASSOCIATIONS = (1, 4)
RUNS = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """Instances per second of the product, and of the plain baseline in the same runs."""

    what: str
    median_per_s: float
    slowest_per_s: float
    fastest_per_s: float
    baseline_per_s: float

    @property
    def ratio(self) -> float:
        """The product's median rate relative to the baseline's."""
        return self.median_per_s / self.baseline_per_s


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print, and write ``{"rates": [...]}`` to a JSON file with ``--json``; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.listener", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(Path(folder))
    _show(rates)
    if options.json:
        figures = [{**asdict(rate), "ratio": round(rate.ratio, 3)} for rate in rates]
        options.json.write_text(json.dumps({"rates": figures}, indent=2))
    return 0


def measure(folder: Path) -> list[Rate]:
    """Rates in instances per second: receive with each number of associations, then ingest.

    Files and servers are created below ``folder``.
    """
    made = make_study(folder / "study", modality="CT", slices=INSTANCES, shape=(SIDE_PX, SIDE_PX))
    paths = [instance.path for series in made.manifest.series for instance in series.instances]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(ASSOCIATIONS), mp_context=spawn) as senders:
        rates = [_receiving(folder, paths, senders, associations) for associations in ASSOCIATIONS]
        return [*rates, _ingesting(folder, paths, senders)]


def _receiving(folder: Path, paths: Sequence[Path], senders: Executor, associations: int) -> Rate:
    def received_s(root: Path) -> float:
        listener = Listener(_settings(root))
        port = listener.start()
        try:
            return _sent_s(paths, port, senders, associations)
        finally:
            listener.stop()

    def written_s(root: Path) -> float:
        data = [path.read_bytes() for path in paths]
        root.mkdir()
        return _seconds(lambda: _write_and_sync(root, data))

    words = "association" if associations == 1 else "associations"
    return _rate(f"receive, {associations} {words}", folder, len(paths), received_s, written_s)


def _sent_s(paths: Sequence[Path], port: int, senders: Executor, associations: int) -> float:
    """Seconds from the first request to the last response; the senders are separate processes."""
    shares = [paths[number::associations] for number in range(associations)]
    times = list(senders.map(_send, shares, [port] * associations))
    return max(end for _, end in times) - min(begin for begin, _ in times)


def _send(paths: Sequence[Path], port: int) -> tuple[float, float]:
    begin = time.monotonic()
    report = send(paths, LOOPBACK, port, called="NEUROTRIAGE")
    end = time.monotonic()
    if report.refused:
        raise RuntimeError(str(report))
    return begin, end


def _write_and_sync(root: Path, data: Sequence[bytes]) -> None:
    for number, content in enumerate(data):
        with (root / str(number)).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _ingesting(folder: Path, paths: Sequence[Path], senders: Executor) -> Rate:
    with EmbeddedPostgres(folder / "postgres") as postgres, HeaderReaders() as readers:
        engine = connect(postgres.start())
        migrate.upgrade(engine)

        def ingested_s(root: Path) -> float:
            listener = Listener(_settings(root))
            port = listener.start()
            _sent_s(paths, port, senders, associations=1)
            listener.stop()
            _empty(engine)
            storage = Storage(root)
            quarantine = Quarantine(engine, storage)
            ingest = Ingest(engine, storage, listener.spool, readers, quarantine, limits=DeliverySettings())
            return _seconds(ingest.drain)

        def inserted_s(root: Path) -> float:
            with engine.begin() as connection:
                rows = [dict(row) for row in connection.execute(select(Instance.__table__)).mappings()]
                connection.execute(text("truncate instances cascade"))
            return _seconds(lambda: _insert(engine, rows))

        rate = _rate("ingest", folder, len(paths), ingested_s, inserted_s)
        engine.dispose()
        postgres.remove()
    return rate


def _insert(engine: Engine, rows: Sequence[dict[str, object]]) -> None:
    statement = insert(Instance)
    for first in range(0, len(rows), GROUP):
        with engine.begin() as connection:
            for row in rows[first : first + GROUP]:
                connection.execute(statement, {key: value for key, value in row.items() if key != "id"})


def _empty(engine: Engine) -> None:
    received = {"studies", "series", "instances", "events"}
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables if table.name in received)
    with engine.begin() as connection:
        connection.execute(text(f"truncate {tables} cascade"))


def _rate(
    what: str, folder: Path, count: int, ours_s: Callable[[Path], float], plain_s: Callable[[Path], float]
) -> Rate:
    """The product and the baseline alternately, each run in a new folder."""
    ours, plain = [], []
    for run in range(RUNS):
        ours.append(count / ours_s(folder / f"{what} {run} ours"))
        plain.append(count / plain_s(folder / f"{what} {run} plain"))
    return Rate(what, median(ours), min(ours), max(ours), median(plain))


def _settings(root: Path) -> Settings:
    return Settings.model_validate({"listener": {"port": 0}, "storage": {"root": root, "min_free_bytes": 0}})


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _show(rates: Sequence[Rate]) -> None:
    print(f"{'':24}{'per s':>9}{'from':>9}{'to':>9}{'baseline':>10}{'ratio':>7}")
    for rate in rates:
        print(
            f"{rate.what:24}{rate.median_per_s:>9.1f}{rate.slowest_per_s:>9.1f}{rate.fastest_per_s:>9.1f}"
            f"{rate.baseline_per_s:>10.1f}{rate.ratio:>7.2f}"
        )
    print(f"{INSTANCES} instances of {SIDE_PX} x {SIDE_PX} pixels; median of {RUNS}")


if __name__ == "__main__":
    sys.exit(main())
