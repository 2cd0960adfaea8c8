"""Archives with three small studies, and our listener for what they move to us."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE

from dicom_listener.server import Listener
from dicom_listener.spool import Spool, read_received
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage
from neurotriage.dicom import requestor
from neurotriage.embedded.process import free_port
from tests.conftest import absent, until
from tests.listener.conftest import instance, status_of

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
# Accession number and number of images of each study.
STUDIES = {"1.2.3": ("A1", 3), "1.2.4": ("A2", 2), "1.2.5": ("B7", 1)}


@dataclass(frozen=True)
class Archive:
    """A running archive: its name in the configuration, and the folder with its files."""

    name: str
    dicom_port: int
    http_port: int
    folder: Path


@pytest.fixture(scope="session")
def listener_port() -> int:
    return free_port()


def _fill(port: int, called: str) -> None:
    entity = AE("MODALITY")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    association = requestor.associate(entity, "127.0.0.1", port, called=called)
    assert association.is_established
    for study, (accession, images) in STUDIES.items():
        for number in range(1, images + 1):
            made = instance(study, number, AccessionNumber=accession, StudyID="1", StudyDate="20260101")
            assert status_of(association, made) == 0
    association.release()


@pytest.fixture(scope="session")
def orthanc_archive(
    orthanc: None, listener_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archive]:
    if not PLUGIN.is_file():
        absent("orthanc", "Orthanc's DICOMweb plugin is not installed (Debian: apt install orthanc-dicomweb)")
    folder = tmp_path_factory.mktemp("orthanc")
    archive = Archive("orthanc", free_port(), free_port(), folder / "db")
    configuration = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": archive.http_port,
        "DicomPort": archive.dicom_port,
        "DicomAet": "ORTHANC",
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {"neurotriage": ["NEUROTRIAGE", "127.0.0.1", listener_port]},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{archive.http_port}/system", timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            until(answers)
            _fill(archive.dicom_port, "ORTHANC")
            yield archive
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def dcmqrscp_archive(dcmtk: None, listener_port: int, tmp_path: Path) -> Iterator[Archive]:
    folder = tmp_path / "dcmqrscp"
    (folder / "db").mkdir(parents=True)
    archive = Archive("dcmqrscp", free_port(), 0, folder / "db")
    (folder / "config").write_text(
        f"NetworkTCPPort = {archive.dicom_port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nus = (NEUROTRIAGE, 127.0.0.1, {listener_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQRSCP {archive.folder} RW (100, 1024mb) ANY\nAETable END\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["dcmqrscp", "-c", str(folder / "config")], stdout=log, stderr=log)
        try:

            def accepts() -> bool:
                entity = AE("TEST")
                entity.add_requested_context("1.2.840.10008.1.1")
                association = requestor.associate(entity, "127.0.0.1", archive.dicom_port, called="DCMQRSCP")
                established = association.is_established
                association.release()
                return established

            until(accepts)
            _fill(archive.dicom_port, "DCMQRSCP")
            yield archive
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path, listener_port: int) -> Settings:
    """With the archives that the test uses as destinations."""
    names = [name for name in request.fixturenames if name.endswith("_archive")]
    archives = [request.getfixturevalue(name) for name in names]
    return Settings.model_validate(
        {
            "listener": {"port": listener_port},
            "storage": {"root": tmp_path / "storage", "min_free_bytes": 0},
            "pull": {"retries": 1, "retry_s": 0.01, "study_timeout_s": 30},
            "destination": [
                {
                    "name": archive.name,
                    "ae_title": archive.name.upper(),
                    "host": "127.0.0.1",
                    "port": archive.dicom_port,
                }
                for archive in archives
            ]
            + [
                {"name": "web", "type": "dicomweb", "url": f"http://127.0.0.1:{archive.http_port}/dicom-web"}
                for archive in archives
                if archive.http_port
            ],
        }
    )


@pytest.fixture
def listener(settings: Settings) -> Iterator[Listener]:
    started = Listener(settings)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def received(settings: Settings) -> Callable[[str], set[str]]:
    """The SOP Instance UIDs in a spool."""

    def uids(name: str) -> set[str]:
        spool = Spool(Storage(settings.storage.root), name, min_free_bytes=0)
        return {read_received(path).reception.affected_sop_instance_uid for path in spool.waiting()}

    return uids


def uids_of(*studies: str) -> set[str]:
    return {f"{study}.1.{number}" for study in studies for number in range(1, STUDIES[study][1] + 1)}
