"""A worker's site to back up, and a fresh place to restore into."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from db.engine import connect
from dicom_listener.ingest.header_readers import HeaderReaders
from dicom_listener.ingest.ingest import Ingest
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.spool import Spool
from neurotriage.backup import Manifest, back_up, restore
from neurotriage.backup.progress import Tell, tell_nobody
from neurotriage.core.process.doorbell import celery_app
from neurotriage.core.settings import DatabaseSettings, DeliverySettings, Settings
from neurotriage.core.storage import Storage
from tests.listener.conftest import instance, spooled
from tests.worker.studies import head_ct
from tests.worker.test_tasks import WorkerSite, site
from worker.attempt import Worker

__all__ = ["site"]  # the fixture


def contents(engine: Engine) -> dict[str, tuple[int, str]]:
    """Of each table the number of rows, and a digest of them all."""
    digest = "select count(*), coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from {} t"
    with engine.connect() as connection:
        return {
            name: tuple(connection.execute(text(digest.format(name))).one())
            for name in inspect(connection).get_table_names()
        }


def hashes(storage: Storage) -> dict[str, str]:
    """SHA-256 of each file of patients, by its path below the root."""
    return {
        str(path.relative_to(storage.root)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(storage.root.rglob("*"))
        if path.is_file() and path.name not in ("lock", "incoming.dcm")
    }


def objects(folder: Path) -> set[Path]:
    """The contents that a backup holds."""
    return {path for path in (folder / "objects").rglob("*") if path.is_file()}


@dataclass
class Fresh:
    """A place to restore into."""

    engine: Engine
    storage: Storage

    def restore(self, folder: Path, tell: Tell = tell_nobody) -> Manifest:
        return restore(self.engine, self.storage, folder, tell)

    def settings(self, of: Settings) -> Settings:
        """Those of the site that was backed up, with our database and storage."""
        url = self.engine.url.render_as_string(hide_password=False)
        storage = of.storage.model_copy(update={"root": self.storage.root})
        return of.model_copy(update={"database": DatabaseSettings(url=url), "storage": storage})

    def worker(self, of: Settings) -> Worker:
        settings = self.settings(of)
        return Worker(settings, celery_app(settings))


def acknowledged_in(fresh: Fresh) -> set[str]:
    """Record what lies in the spool; the SOP Instance UIDs of all that is recorded then."""
    spool = Spool(fresh.storage, "main", min_free_bytes=0)
    with HeaderReaders(readers=1) as readers:
        quarantine = Quarantine(fresh.engine, fresh.storage)
        Ingest(fresh.engine, fresh.storage, spool, readers, quarantine, limits=DeliverySettings()).drain()
    with fresh.engine.connect() as connection:
        return set(connection.execute(text("select sop_instance_uid from instances")).scalars())


@pytest.fixture
def fresh(empty_database_url: str, tmp_path: Path) -> Iterator[Fresh]:
    engine = connect(empty_database_url)
    yield Fresh(engine, Storage(tmp_path / "restored"))
    engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@dataclass
class Clinic:
    """A site with a study that was analysed, one that waits, and files in spool and quarantine."""

    site: WorkerSite
    spool: Spool
    ingest: Ingest
    folder: Path

    @property
    def engine(self) -> Engine:
        return self.site.engine

    @property
    def storage(self) -> Storage:
        return self.site.storage

    def back_up(self, tell: Tell = tell_nobody) -> Manifest:
        return back_up(self.engine, self.storage, self.folder, tell)

    def receive(self, number: int) -> str:
        """An instance that is acknowledged and not recorded; its UID."""
        dataset = instance(number=number)
        spooled(self.spool, dataset)
        return str(dataset.SOPInstanceUID)


@contextmanager
def clinic_of(site: WorkerSite, folder: Path) -> Iterator[Clinic]:
    spool = Spool(site.storage, "main", min_free_bytes=0)
    with HeaderReaders(readers=1) as readers:
        quarantine = Quarantine(site.engine, site.storage)
        ingest = Ingest(site.engine, site.storage, spool, readers, quarantine, limits=DeliverySettings())
        yield Clinic(site, spool, ingest, folder)


@pytest.fixture
def clinic(site: WorkerSite, folder: Path) -> Iterator[Clinic]:
    with clinic_of(site, folder) as clinic:
        site.worker.analyse(site.receive(head_ct()))
        spooled(clinic.spool, b"no data set", sop_instance_uid="1.2.3.7")
        assert clinic.ingest.drain().quarantined == 1
        clinic.receive(1)
        yield clinic
