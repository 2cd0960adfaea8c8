"""What the product stands on fails for a while: the database, the broker, the disk."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.send import send
from neurotriage.demo.studies import SampleStudy
from tests.scenarios.conftest import Site, opened

pytestmark = pytest.mark.scenario

# What other programs of this host write meanwhile must stay below half of it.
BALLAST_BYTES = 2 * 1024**3


def test_images_that_come_while_postgres_is_down_are_analysed_once_it_is_back(
    site: Site, mr_study: SampleStudy
) -> None:
    early, late = mr_study.datasets[:10], mr_study.datasets[10:]
    site.send(replace(mr_study, datasets=early))
    site.stack.postgres.stop()
    site.send(replace(mr_study, datasets=late))
    assert site.spooled >= len(late)
    # Each loop has failed and waited more than once: it has not just overlooked the failure.
    site.wait("ingest has tried again", lambda: site.logged("listen", '"loop": "ingest"') > 2)
    site.wait("the sweep has tried again", lambda: site.logged("listen", '"loop": "sweep"') > 2)
    site.stack.postgres.start()
    row = site.wait_for_end(mr_study)
    assert (row["instances"], row["outcome"] in ("present", "undetermined")) == (len(mr_study.datasets), True)
    assert site.spooled == 0
    assert site.scalar("select max(times_received) from instances") == 1
    assert site.scalar("select count(*) from analyses") == 1
    assert row["deliveries_stored"] == len(site.pacs.received()) == site.pacs.stores
    assert site.stack.dead() == {}


def test_a_broker_that_was_killed_and_comes_back_loses_nothing(site: Site, mr_study: SampleStudy) -> None:
    site.stack.valkey.kill()
    site.send(mr_study)
    site.wait("the study is ready", lambda: site.scalar("select count(*) from revisions"))
    site.wait("the sweep has tried again", lambda: site.logged("listen", '"loop": "sweep"') > 2)
    site.stack.valkey.start()
    row = site.wait_for_end(mr_study)
    assert row["attempts"] == 1
    assert row["deliveries_stored"] == len(site.pacs.received()) == site.pacs.stores
    assert site.stack.dead() == {}


@pytest.fixture
def nearly_full(tmp_path: Path) -> Iterator[Site]:
    """Only the way in, on a disk that may lose half of the ballast and no more."""
    limit = shutil.disk_usage(tmp_path).free - BALLAST_BYTES // 2
    with StandInPacs(tmp_path / "pacs") as pacs:  # noqa: SIM117 - the limit is measured before
        with opened(tmp_path, pacs, roles=["listen"], min_free_bytes=limit) as site:
            yield site


def test_a_disk_below_its_limit_is_answered_a700_and_recovers_by_itself(
    nearly_full: Site, ct_study: SampleStudy, tmp_path: Path
) -> None:
    site, images = nearly_full, ct_study.datasets[:3]
    ballast = tmp_path / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
    report = send(images, "127.0.0.1", site.stack.settings.listener.port, called="NEUROTRIAGE")
    assert report.stored == ()
    assert {why.split(" (")[0] for _, why in report.refused} == {
        "refused with status 0xA700 no space or storage error"
    }
    kept = [path for path in site.stack.settings.storage.root.rglob("*") if path.is_file()]
    # What is left says that a listener runs, with what, and that an association ended: nothing of an image.
    assert {path.suffix for path in kept} <= {".json", ".lock", ""}
    assert sum(path.stat().st_size for path in kept) < 10_000
    ballast.unlink()
    site.send(replace(ct_study, datasets=images))
    site.wait("all are recorded", lambda: site.scalar("select count(*) from instances") == len(images))
