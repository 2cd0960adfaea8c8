"""Storage commitment through the whole way in as a process: killed in between, and asked by Orthanc."""

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from neurotriage.core.settings import Settings
from neurotriage.embedded.process import free_port
from tests.conftest import until
from tests.listener.asker import Asker, Told, ask, asked
from tests.listener.conftest import associate, instance, rows, send, status_of
from tests.listener.intake_process import IntakeProcess

NOWHERE = "redis://127.0.0.1:1/0"
AWAY = "postgresql+psycopg2://nobody@127.0.0.1:1/none"


@pytest.fixture
def changed(settings: Settings, database_url: str, engine: Engine) -> Callable[..., Settings]:
    """The settings with storage commitment on, and other sections or values."""

    def change(peer: dict[str, object], url: str = database_url) -> Settings:
        document = settings.model_dump() | {"peer": [peer]}
        document["listener"] |= {"storage_commitment": True}
        document["delivery"] |= {"retry_s": 0.5, "retry_max_s": 0.5}
        document |= {"database": {"url": url}, "broker": {"url": NOWHERE}}
        return Settings.model_validate(document)

    return change


def states(engine: Engine) -> list[tuple[object, ...]]:
    return rows(engine, "select transaction_uid, state from commitment_transactions order by id")


@pytest.mark.scenario
def test_killed_after_its_answer_a_request_is_reported_after_the_next_start(
    changed: Callable[..., Settings], engine: Engine
) -> None:
    """Each time after another step: the answer, the row, the decision, a report that failed."""
    asker = Asker()
    some = "select 1 from commitment_transactions where"
    uids = [f"1.2.3.1.{number}" for number in range(1, 5)]
    moments: list[tuple[str, Callable[[], bool]]] = [
        (AWAY, lambda: True),
        ("", lambda: len(states(engine)) >= 2),
        (
            "",
            lambda: bool(rows(engine, f"{some} decided_at is not null")),
        ),
        ("", lambda: bool(rows(engine, f"{some} attempts > 0"))),
    ]
    for number, (url, moment) in enumerate(moments):
        intake = IntakeProcess(changed(asker.peer, *filter(None, [url])))
        assert send(intake.port, [instance(number=number + 1)]) == [0]
        assert ask(intake.port, asked(f"2.25.{number}", uids[number])) == [0x0000]
        until(moment)
        intake.end(signal.SIGKILL)
    with asker:
        intake = IntakeProcess(changed(asker.peer))
        try:
            told = {one.transaction: one for one in (asker.reports.get(timeout=60) for _ in moments)}
            until(lambda: {state for _, state in states(engine)} == {"reported"})
        finally:
            intake.end(signal.SIGTERM)
    assert told == {f"2.25.{n}": Told(1, f"2.25.{n}", [uid], {}) for n, uid in enumerate(uids)}
    assert len(states(engine)) == len(moments)
    assert rows(engine, "select count(*) from instances where committed_at is not null") == [(4,)]


class Orthanc:
    """A running Orthanc that knows us; its AE title is ORTHANC."""

    def __init__(self, folder: Path, our_port: int) -> None:
        self.folder, self.dicom_port, self.http_port = folder, free_port(), free_port()
        configuration = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": "ORTHANC",
            "AuthenticationEnabled": False,
            "DicomModalities": {"neurotriage": ["NEUROTRIAGE", "127.0.0.1", our_port]},
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration))

    @property
    def peer(self) -> dict[str, object]:
        return {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": self.dicom_port}

    def call(self, path: str, body: object = None) -> dict[str, object]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data)
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - http alone
            document: dict[str, object] = json.load(answer)
        return document

    def answers(self) -> bool:
        try:
            self.call("/system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def report_on(self, transaction: object) -> dict[str, object]:
        return self.call(f"/storage-commitment/{transaction}")


@pytest.fixture
def our_port() -> int:
    return free_port()


@pytest.fixture
def orthanc_peer(orthanc: None, our_port: int, tmp_path: Path) -> Iterator[Orthanc]:
    folder = tmp_path / "orthanc"
    folder.mkdir()
    peer = Orthanc(folder, our_port)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            until(peer.answers)
            yield peer
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.scenario
def test_orthanc_asks_and_hears_what_is_committed_missing_and_of_another_class(
    orthanc_peer: Orthanc, our_port: int, changed: Callable[..., Settings]
) -> None:
    settings = changed(orthanc_peer.peer)
    listening = settings.listener.model_copy(update={"port": our_port})
    intake = IntakeProcess(settings.model_copy(update={"listener": listening}))
    mr, ct = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
    ours = [f"1.2.3.1.{number}" for number in (1, 2)]

    def asks(*references: tuple[str, str]) -> dict[str, object]:
        """Orthanc's own record of the report."""
        items = [{"SOPClassUID": sop_class, "SOPInstanceUID": uid} for sop_class, uid in references]
        asked_ = orthanc_peer.call("/modalities/neurotriage/storage-commitment", {"DicomInstances": items})
        until(lambda: orthanc_peer.report_on(asked_["ID"])["Status"] != "Pending")
        return orthanc_peer.report_on(asked_["ID"])

    try:
        association = associate(our_port, calling="ORTHANC")
        assert [status_of(association, instance(number=number)) for number in (1, 2)] == [0, 0]
        association.release()
        told = asks((mr, ours[0]), (mr, ours[1]))
        assert (told["Status"], told["RemoteAET"]) == ("Success", "NEUROTRIAGE")
        assert isinstance(told["Success"], list)
        assert sorted(item["SOPInstanceUID"] for item in told["Success"]) == ours
        told = asks((mr, ours[0]), (ct, ours[1]), (mr, "9.9.9"))
        assert told["Status"] == "Failure"
        assert isinstance(told["Failures"], list)
        failures = {item["SOPInstanceUID"]: item["FailureReason"] for item in told["Failures"]}
        assert failures == {ours[1]: 0x0119, "9.9.9": 0x0112}
    finally:
        intake.end(signal.SIGTERM)
