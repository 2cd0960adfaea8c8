"""The snapshot as Prometheus metrics: a pure function.

All are gauges, also counts: tables are the truth, and what an installation ever did is not counted anew with
each scrape. Labels are enumerations or names of the configuration; a UID, an AE title of a peer or a host is
never one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import GaugeMetricFamily

from neurotriage import __version__
from neurotriage.core.settings import Settings
from neurotriage.operations import samples as of
from neurotriage.operations.values import Snapshot


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is documented, and how its samples are made. One that is not known has no sample."""

    name: str
    labels: tuple[str, ...]
    text: str
    samples: of.Samples


METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "neurotriage_build",
        ("version",),
        "1, with the version that answers",
        lambda *_: [((__version__,), 1.0)],
    ),
    Metric("neurotriage_known", ("section",), "1: could be asked; 0: its metrics are missing", of.known),
    Metric("neurotriage_alarms", ("code",), "alarms that stand, by kind", of.alarms),
    Metric("neurotriage_ready", ("role",), "1: the role can do its work; 0: it cannot", of.ready),
    Metric("neurotriage_processes", ("role", "state"), "processes, alive or gone", of.processes),
    Metric("neurotriage_queue_studies", ("priority", "state"), "studies waiting or analysing", of.queue),
    Metric(
        "neurotriage_queue_oldest_seconds",
        ("priority",),
        "age of the oldest that waits; 0: none",
        of.queue_oldest,
    ),
    Metric("neurotriage_backlog_seconds", (), "until all is analysed, at the present rate", of.backlog),
    Metric("neurotriage_studies", ("stage", "window"), "studies that passed within a window", of.studies),
    Metric("neurotriage_images_received", ("window",), "images received within a window", of.images),
    Metric(
        "neurotriage_hop_seconds", ("hop", "window", "percentile"), "time from one stage to the next", of.hops
    ),
    Metric(
        "neurotriage_delivery_objects",
        ("destination", "state"),
        "objects that wait, or under alarm",
        of.objects,
    ),
    Metric(
        "neurotriage_delivery_oldest_seconds",
        ("destination",),
        "age of the oldest object that waits; 0: none",
        of.destination_oldest,
    ),
    Metric(
        "neurotriage_delivery_sent",
        ("destination", "end", "window"),
        "objects stored, or refused and given up (ended), within a window",
        of.sent,
    ),
    Metric(
        "neurotriage_disk_total_bytes", (), "disk of the storage folder", of.of_disk(lambda d: d.total_bytes)
    ),
    Metric("neurotriage_disk_free_bytes", (), "free on it", of.of_disk(lambda d: d.free_bytes)),
    Metric(
        "neurotriage_disk_reserved_bytes",
        (),
        "with less free nothing is received",
        of.of_disk(lambda d: d.reserved_bytes),
    ),
    Metric(
        "neurotriage_disk_left_seconds",
        (),
        "until nothing is received, at the rate of the last days",
        of.of_stored(of.days_left_s),
    ),
    Metric("neurotriage_spool_files", (), "received and not recorded", of.of_disk(lambda d: d.spool_files)),
    Metric(
        "neurotriage_spool_oldest_seconds",
        (),
        "age of the oldest of them; 0: none",
        of.of_disk(lambda d: d.spool_oldest_s or 0.0),
    ),
    Metric(
        "neurotriage_store_bytes",
        (),
        "received images; of many, an estimate",
        of.of_stored(lambda s: s.store_bytes),
    ),
    Metric("neurotriage_database_bytes", (), "the database", of.of_stored(lambda s: s.database_bytes)),
    Metric(
        "neurotriage_growth_bytes_per_day",
        (),
        "images and results, mean of three days",
        of.of_stored(lambda s: s.growth_bytes_per_day),
    ),
    Metric(
        "neurotriage_quarantined",
        (),
        "files set aside within a day",
        of.of_stored(lambda s: s.quarantined_last_day),
    ),
)


def families(snapshot: Snapshot, settings: Settings) -> Iterator[GaugeMetricFamily]:
    """Every metric of ``METRICS`` with its samples."""
    for metric in METRICS:
        family = GaugeMetricFamily(metric.name, metric.text, labels=metric.labels)
        for labels, value in metric.samples(snapshot, settings):
            family.add_metric(labels, value)
        yield family
