"""Real peers: DCMTK as the modality, Orthanc as the PACS that also routes our own results back to us."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from db.engine import connect
from neurotriage.core.settings import CONFIG_VARIABLE, Settings
from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.send import send
from neurotriage.demo.studies import SampleStudy
from neurotriage.embedded.process import free_port
from neurotriage.embedded.stack import Stack
from tests.scenarios.conftest import Site

pytestmark = pytest.mark.scenario

# Long enough for a second analysis to show itself: quiet time, sweep, analysis of what would be new.
ECHO_WOULD_TAKE_S = 10.0
ROUTE_EVERYTHING = """
function OnStoredInstance(instanceId, tags, metadata)
  SendToModality(instanceId, 'neurotriage')
end
"""


@pytest.mark.usefixtures("dcmtk")
def test_a_study_sent_by_dcmtk_is_taken_and_ends(site: Site, ct_study: SampleStudy, tmp_path: Path) -> None:
    ct_study.write(tmp_path / "study")
    address = ["-aec", "NEUROTRIAGE", "127.0.0.1", str(site.stack.settings.listener.port)]
    subprocess.run(["echoscu", *address], check=True, timeout=30)
    sent = subprocess.run(
        ["storescu", "-v", *address, "+sd", str(tmp_path / "study")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (sent.stdout + sent.stderr).count("Received Store Response (Success)") == len(ct_study.datasets)
    row = site.wait_for_end(ct_study)
    assert row["instances"] == len(ct_study.datasets)
    assert row["deliveries_stored"] == len(site.pacs.received()) > 0


@dataclass
class Orthanc:
    """A running Orthanc, asked over its REST API."""

    http_port: int
    dicom_port: int

    def get(self, path: str) -> Any:
        return json.loads(self._fetch(path))

    def file(self, sop_instance_uid: str) -> Dataset:
        """The stored instance with this UID."""
        (found,) = json.loads(self._fetch("/tools/lookup", sop_instance_uid.encode()))
        assert found["Type"] == "Instance"
        return dcmread(BytesIO(self._fetch(f"{found['Path']}/file")))

    def answers(self) -> bool:
        try:
            self.get("/system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _fetch(self, path: str, body: bytes | None = None) -> bytes:
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(url, data=body, timeout=20) as answer:
            data: bytes = answer.read()
        return data


def _configuration(folder: Path, orthanc: Orthanc, listener_port: int) -> Path:
    script = folder / "route.lua"
    script.write_text(ROUTE_EVERYTHING)
    path = folder / "orthanc.json"
    path.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "db"),
                "IndexDirectory": str(folder / "db"),
                "HttpPort": orthanc.http_port,
                "DicomPort": orthanc.dicom_port,
                "DicomAet": "ORTHANC",
                "DicomCheckCalledAet": True,
                "AuthenticationEnabled": False,
                "OverwriteInstances": False,
                "DicomModalities": {"neurotriage": ["NEUROTRIAGE", "127.0.0.1", listener_port]},
                "LuaScripts": [str(script)],
            }
        )
    )
    return path


@pytest.fixture(scope="module")
def routing(tmp_path_factory: pytest.TempPathFactory, orthanc: None) -> Iterator[tuple[Orthanc, int]]:
    """An Orthanc that sends every instance it stores to a port on which we will listen."""
    folder = tmp_path_factory.mktemp("orthanc")
    running, listener_port = Orthanc(free_port(), free_port()), free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["Orthanc", str(_configuration(folder, running, listener_port))], stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 30
            while not running.answers():
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield running, listener_port
        finally:
            process.terminate()
            process.wait(20)


@dataclass
class Hospital:
    """A study that went to Orthanc, was routed to us, and whose results went back."""

    site: Site
    orthanc: Orthanc
    study: SampleStudy

    def results(self) -> list[Path]:
        """Our result files."""
        with self.site.engine.connect() as connection:
            paths = connection.exec_driver_sql("select path from result_objects order by id").scalars()
            return [self.site.stack.settings.storage.root / path for path in paths]


@pytest.fixture(scope="module")
def hospital(
    routing: tuple[Orthanc, int], tmp_path_factory: pytest.TempPathFactory, mr_study: SampleStudy
) -> Iterator[Hospital]:
    """Orthanc is the modality's only address; we hear of the study from it."""
    orthanc, listener_port = routing
    folder = tmp_path_factory.mktemp("hospital")
    destination = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
    settings = Settings.model_validate(
        {
            "listener": {"port": listener_port},
            "assembly": {"quiet_s": 3},
            "storage": {"root": folder / "storage", "min_free_bytes": 0},
            "worker": {"sweep_s": 1, "threads": 1},
            "delivery": {"retry_s": 1, "retry_max_s": 2},
            "destination": [destination],
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG_VARIABLE, "/dev/null")
        with Stack(settings, folder / "servers", ephemeral=True) as stack:
            engine = connect(stack.settings.database.url)
            site = Site(stack, StandInPacs(folder / "pacs"), engine)
            report = send(mr_study.datasets, "127.0.0.1", orthanc.dicom_port, called="ORTHANC")
            assert len(report.stored) == len(mr_study.datasets), report
            site.wait_for_end(mr_study)
            yield Hospital(site, orthanc, mr_study)
            engine.dispose()


def test_page_overlay_and_report_lie_in_orthanc_as_they_were_made(hospital: Hospital) -> None:
    results = hospital.results()
    kinds = hospital.site.scalar("select array_agg(distinct kind) from result_objects")
    assert {"page", "overlay", "report"} == set(kinds)
    for path in results:
        made = dcmread(path)
        assert hospital.orthanc.file(made.SOPInstanceUID) == made


def test_patient_and_study_stay_one_in_orthanc(hospital: Hospital) -> None:
    orthanc = hospital.orthanc
    assert len(orthanc.get("/patients")) == 1
    (study,) = (orthanc.get(f"/studies/{found}") for found in orthanc.get("/studies"))
    assert study["MainDicomTags"]["StudyInstanceUID"] == hospital.study.study_instance_uid
    source = {str(dataset.SeriesInstanceUID) for dataset in hospital.study.datasets}
    ours = {str(dcmread(path).SeriesInstanceUID) for path in hospital.results()}
    assert not source & ours
    assert len(study["Series"]) == len(source | ours)


def test_results_that_orthanc_routes_back_to_us_are_analysed_by_nobody(hospital: Hospital) -> None:
    site, made = hospital.site, len(hospital.results())
    own = "select count(*) from instances where own_result"
    site.wait("all our results came back", lambda: site.scalar(own) == made, timeout_s=60)
    time.sleep(ECHO_WOULD_TAKE_S)
    assert site.scalar("select count(*) from studies") == 1
    assert site.scalar("select state from studies") == "quiet"
    assert site.scalar("select count(*) from analyses") == 1
    assert len(hospital.results()) == made
    assert len(hospital.orthanc.get("/instances")) == len(hospital.study.datasets) + made
