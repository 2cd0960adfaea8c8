"""Results in real archives: Orthanc by C-STORE and by STOW-RS, dcmqrscp; read back bit by bit, and proven."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless
from sqlalchemy import Engine

from db.studies.objects import WrittenObject
from dicom_listener.ingest.header_readers import HeaderReaders
from dicom_listener.ingest.ingest import Ingest, Ingested
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.server import Listener
from neurotriage.core.storage import Storage, write_durably
from neurotriage.core.values import Outcome, ResultObject
from neurotriage.dicom.data_set import digest_of_file
from neurotriage.embedded.process import free_port
from neurotriage.phantom import INSTALLATION, make_analysis, make_study
from tests.conftest import absent
from tests.db.rows import analysed, claimed, ready_revision
from tests.delivery.conftest import Site, await_port
from worker.results import build

pytestmark = pytest.mark.scenario

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture
def site(engine: Engine, tmp_path: Path) -> Site:
    return Site(engine, tmp_path / "storage")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, tuple[ResultObject, ...]]:
    """The study and its page, overlays and report."""
    made = make_study(tmp_path_factory.mktemp("study"), slices=9, shape=(64, 64))
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    objects = build(analysis, evidence, made.manifest, INSTALLATION).objects
    assert len({result.sop_class_uid for result in objects}) == 2
    assert analysis.study_instance_uid is not None
    return analysis.study_instance_uid, objects


def _waiting(site: Site, results: tuple[str, tuple[ResultObject, ...]]) -> dict[str, Path]:
    """The results wait for ``pacs``; their files by UID."""
    study, objects = results
    paths = {result.sop_instance_uid: Path(f"results/{result.sop_instance_uid}.dcm") for result in objects}
    for result in objects:
        write_durably(site.root / paths[result.sop_instance_uid], result.data)
    with site.engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, study=study))
        wanted = (WrittenObject(result, paths[result.sop_instance_uid], ("pacs",)) for result in objects)
        analysed(connection, held, *wanted)
    return {uid: site.root / path for uid, path in paths.items()}


@dataclass
class Orthanc:
    http_port: int
    dicom_port: int

    def get(self, path: str, body: bytes | None = None) -> bytes:
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(url, data=body, timeout=20) as answer:
            data: bytes = answer.read()
        return data

    def answers(self) -> bool:
        try:
            self.get("/system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def file(self, uid: str, folder: Path) -> Path:
        """The stored instance with this UID, of which there must be one."""
        (found,) = json.loads(self.get("/tools/lookup", uid.encode()))
        path = folder / f"{uid}.dcm"
        path.write_bytes(self.get(f"{found['Path']}/file"))
        return path


@pytest.fixture(scope="module")
def listener_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def orthanc_web(
    orthanc: None, listener_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    """Orthanc with its DICOMweb plugin; it knows us, for storage commitment."""
    if not _PLUGIN.is_file():
        absent("orthanc", "Orthanc's DICOMweb plugin is not installed (Debian: apt install orthanc-dicomweb)")
    folder = tmp_path_factory.mktemp("orthanc")
    running = Orthanc(free_port(), free_port())
    configuration = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": running.http_port,
        "DicomPort": running.dicom_port,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowFind": True,
        "DicomModalities": {"neurotriage": ["NEUROTRIAGE", "127.0.0.1", listener_port]},
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            _wait("Orthanc answers", running.answers, 60)
            yield running
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def emptied(orthanc_web: Orthanc) -> Orthanc:
    for study in json.loads(orthanc_web.get("/studies")):
        url = f"http://127.0.0.1:{orthanc_web.http_port}/studies/{study}"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=20).close()
    return orthanc_web


def _wait(what: str, condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def _is_the_same(stored: Path, made: Path) -> bool:
    """The data set, byte for byte; an archive writes File Meta of its own."""
    return digest_of_file(stored) == digest_of_file(made)


def test_orthanc_stores_and_commits_on_an_association_of_its_own(
    site: Site,
    emptied: Orthanc,
    listener_port: int,
    results: tuple[str, tuple[ResultObject, ...]],
    tmp_path: Path,
) -> None:
    site.choose(listener={"port": listener_port}, storage={"min_free_bytes": 0})
    site.destination("pacs", emptied.dicom_port, ae_title="ORTHANC")
    made = _waiting(site, results)
    listener = Listener(site.settings)
    listener.start()
    try:
        assert site.deliver() == len(made)
        _wait("the report comes", listener.spool.reports)
        storage = Storage(site.root)
        quarantine = Quarantine(site.engine, storage)
        with HeaderReaders() as readers:
            limits, spool = site.settings.delivery, listener.spool
            ingest = Ingest(site.engine, storage, spool, readers, quarantine, limits=limits)
            assert ingest.drain() == Ingested(reports=1)
    finally:
        listener.stop()
    assert all(site.column("committed_at"))
    assert all(_is_the_same(emptied.file(uid, tmp_path), path) for uid, path in made.items())


def test_orthanc_gets_pictures_in_jpeg_ls_with_the_same_pixels(
    site: Site, emptied: Orthanc, results: tuple[str, tuple[ResultObject, ...]], tmp_path: Path
) -> None:
    site.destination("pacs", emptied.dicom_port, ae_title="ORTHANC", commitment="off", compression="jpeg-ls")
    made = _waiting(site, results)
    assert site.deliver() == len(made)
    assert all(site.column("found_at"))
    for uid, path in made.items():
        stored, written = dcmread(emptied.file(uid, tmp_path)), dcmread(path)
        if "PixelData" not in written:
            assert _is_the_same(emptied.file(uid, tmp_path), path)
            continue
        assert stored.file_meta.TransferSyntaxUID == JPEGLSLossless
        assert len(stored.PixelData) < len(written.PixelData) / 2
        assert np.array_equal(stored.pixel_array, written.pixel_array)
        for kept in (stored, written):
            del kept.PixelData
        assert stored == written


def test_what_orthanc_stored_is_found_by_query(
    site: Site, emptied: Orthanc, results: tuple[str, tuple[ResultObject, ...]]
) -> None:
    for level in ("image", "series"):
        site.destination("pacs", emptied.dicom_port, ae_title="ORTHANC", commitment="off", find=level)
        _waiting(site, results) if level == "image" else site.execute(
            "update deliveries set state = 'waiting', found_at = null, next_try_at = now()"
        )
        site.deliver()
        assert all(site.column("found_at"))


def test_orthanc_takes_our_bytes_over_the_web_and_finds_them(
    site: Site, emptied: Orthanc, results: tuple[str, tuple[ResultObject, ...]], tmp_path: Path
) -> None:
    site.web("pacs", f"http://127.0.0.1:{emptied.http_port}/dicom-web")
    made = _waiting(site, results)
    assert site.deliver() == len(made)
    assert {status for _, _, status in site.states()} == {"stored"}
    assert all(site.column("found_at"))
    assert all(_is_the_same(emptied.file(uid, tmp_path), path) for uid, path in made.items())
    count = len(json.loads(emptied.get("/instances")))
    site.execute("update deliveries set state = 'waiting', next_try_at = now()")
    assert site.deliver() == len(made)
    assert len(json.loads(emptied.get("/instances"))) == count == len(made)


def test_what_orthanc_lost_is_seen_and_sent_again(
    site: Site, emptied: Orthanc, results: tuple[str, tuple[ResultObject, ...]]
) -> None:
    site.web("pacs", f"http://127.0.0.1:{emptied.http_port}/dicom-web", find="off")
    made = _waiting(site, results)
    site.deliver()
    study = json.loads(emptied.get("/studies"))[0]
    url = f"http://127.0.0.1:{emptied.http_port}/studies/{study}"
    urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=20).close()
    site.web("pacs", f"http://127.0.0.1:{emptied.http_port}/dicom-web")
    site.execute("update deliveries set proof_due_at = now()")
    for _ in range(5):
        site.deliver()
        site.let_time_pass()
    assert all(site.column("found_at"))
    assert site.column("resends") == [1] * len(made)
    assert site.column("alarmed_at") == [None] * len(made)


@pytest.fixture
def dcmqrscp(dcmtk: None, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    port, folder = free_port(), tmp_path / "dcmqrscp"
    folder.mkdir()
    configuration = tmp_path / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQR {folder} RW (200, 1024mb) ANY\nAETable END\n"
    )
    running = subprocess.Popen(["dcmqrscp", "-c", str(configuration), str(port)])
    try:
        await_port(port)
        yield port, folder
    finally:
        running.kill()
        running.wait()


def test_dcmqrscp_stores_and_finds(
    site: Site, dcmqrscp: tuple[int, Path], results: tuple[str, tuple[ResultObject, ...]]
) -> None:
    port, folder = dcmqrscp
    site.destination("pacs", port, ae_title="QR")
    made = _waiting(site, results)
    assert site.deliver() == len(made)
    assert all(site.column("found_at"))
    stored = {str(dcmread(p).SOPInstanceUID): p for p in folder.iterdir() if p.name != "index.dat"}
    assert stored.keys() == made.keys()
    assert all(_is_the_same(stored[uid], path) for uid, path in made.items())
