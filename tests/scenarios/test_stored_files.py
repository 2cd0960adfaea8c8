"""A stored file that is gone costs itself: it is no fault of the surroundings, to be tried again."""

from pathlib import Path
from typing import Any

import pytest

from neurotriage.core.storage import Storage
from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.studies import SampleStudy
from tests.scenarios.conftest import Site, opened

pytestmark = pytest.mark.scenario


def stored_files(site: Site) -> list[Path]:
    storage = Storage(site.stack.settings.storage.root)
    return sorted((storage.root / "store").glob("*/*.dcm"))


def received_then(site: Site, study: SampleStudy, lost: Any) -> Any:
    """Send a study; files are lost before a worker runs."""
    site.send(study)
    site.wait("all is frozen", lambda: site.scalar("select count(*) from revisions where state = 'ready'"))
    files = stored_files(site)
    assert len(files) == len(study.datasets)
    for path in lost(files):
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    site.stack.start("analysis")
    return site.wait_for_end(study)


@pytest.fixture
def site_without_worker(tmp_path: Path) -> Any:
    with (
        StandInPacs(tmp_path / "pacs", ae_title="PACS") as pacs,
        opened(tmp_path, pacs, roles=("listen", "delivery")) as site,
    ):
        yield site


def test_the_images_that_are_left_are_analysed_and_the_lost_one_is_named(
    site_without_worker: Site, ct_study: SampleStudy
) -> None:
    row = received_then(site_without_worker, ct_study, lambda files: files[:1])
    assert row["attempts"] == 1
    assert row["outcome"] not in (None, "failed")
    assert row["deliveries_stored"] > 0
    told = site_without_worker.scalar(
        "select a.document::text from analyses a order by a.revision_id desc limit 1"
    )
    assert "cannot be read" in str(told) or "missing" in str(told), told


def test_a_study_whose_files_are_all_gone_ends_with_a_reason(
    site_without_worker: Site, ct_study: SampleStudy
) -> None:
    row = received_then(site_without_worker, ct_study, lambda files: files)
    assert row["attempts"] == 1
    assert row["outcome"] not in (None, "failed")
    assert "cannot be read" in row["reasons"], row["reasons"]
