"""Orthanc with DICOMweb as the PACS that a viewer reads from."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, Final

import httpx

from neurotriage.embedded.process import LOOPBACK, end, free_port, log_tail, spawn

AE_TITLE: Final = "ORTHANC"
DICOM_WEB_PLUGIN: Final = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_S: Final = 60.0
_ANSWER_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Pacs:
    """A running Orthanc on the loopback address."""

    http_port: int
    dicom_port: int

    def series_of(self, study_uid: str) -> set[str]:
        """The Series Instance UIDs of a study."""
        return {item["0020000E"]["Value"][0] for item in self._dicom_web(f"studies/{study_uid}/series")}

    def answers(self) -> bool:
        try:
            self._dicom_web("studies?limit=1")
        except httpx.TransportError:
            return False
        return True

    def _dicom_web(self, path: str) -> Any:
        url = f"http://{LOOPBACK}:{self.http_port}/dicom-web/{path}"
        answer = httpx.get(url, headers={"Accept": "application/dicom+json"}, timeout=_ANSWER_S)
        return answer.raise_for_status().json()


@contextmanager
def running_pacs(folder: Path) -> Iterator[Pacs]:
    """An empty Orthanc that keeps its data in ``folder`` and takes what anybody sends."""
    pacs = Pacs(free_port(), free_port())
    settings = folder / "orthanc.json"
    settings.write_text(json.dumps(_settings(pacs, folder)))
    log = folder / "log"
    process = spawn(["Orthanc", settings], log, cwd=folder, death_signal=SIGKILL)
    try:
        deadline = time.monotonic() + _START_S
        while not pacs.answers():
            assert process.poll() is None, log_tail(log)
            assert time.monotonic() < deadline, log_tail(log)
            time.sleep(0.1)
        yield pacs
    finally:
        end(process, SIGTERM, grace_s=20)


def _settings(pacs: Pacs, folder: Path) -> dict[str, object]:
    return {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(DICOM_WEB_PLUGIN)],
        "HttpPort": pacs.http_port,
        "DicomPort": pacs.dicom_port,
        "DicomAet": AE_TITLE,
        "DicomAlwaysAllowFind": True,
        "AuthenticationEnabled": False,
        "RemoteAccessAllowed": False,
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "StudiesMetadata": "Full",
            "SeriesMetadata": "Full",
        },
    }
