"""The doctor finds what is wrong before a patient does, within a limit, and says what to do."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from sqlalchemy import Engine, make_url, text

from dicom_listener.server import Listener
from neurotriage.core.settings import CONFIG_VARIABLE, Settings, environment_of
from neurotriage.demo.pacs import StandInPacs
from neurotriage.doctor import State, examine
from neurotriage.doctor.check import Check, Probe, ok
from neurotriage.doctor.database import look_at_database
from neurotriage.doctor.destinations import look_at_destination
from neurotriage.doctor.host import look_at_configuration, look_at_storage, look_at_weights
from neurotriage.doctor.listener import look_at_listener
from neurotriage.doctor.queue import look_at_queue
from neurotriage.embedded.process import free_port
from tests.worker.weights import hollow_weights
from worker.delivery import dimse

VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"


def by_subject(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.subject: check for check in checks}


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


class Archive:
    """A PACS that answers queries, and does as it is told."""

    def __init__(
        self,
        classes: Sequence[str] = (SECONDARY_CAPTURE, REPORT),
        *,
        keeps: bool = True,
        strict: bool = False,
    ) -> None:
        self._keeps = keeps
        self.stored: dict[str, Dataset] = {}
        self._ae = AE("PACS")
        self._ae.require_calling_aet = ["SOMEBODYELSE"] if strict else []
        for uid in (VERIFICATION, STUDY_ROOT_FIND, *classes):
            self._ae.add_supported_context(uid, [ExplicitVRLittleEndian])

    def __enter__(self) -> "Archive":
        handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        self.port = int(server.server_address[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._ae.shutdown()

    def _store(self, event: evt.Event) -> int:
        assert isinstance(event.request, C_STORE)
        if self._keeps:
            self.stored[str(event.request.AffectedSOPInstanceUID)] = event.dataset
        return 0x0000

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for dataset in self.stored.values():
            if dataset.SeriesInstanceUID == event.identifier.SeriesInstanceUID:
                answer = Dataset()
                answer.QueryRetrieveLevel = "IMAGE"
                answer.SOPInstanceUID = dataset.SOPInstanceUID
                yield 0xFF00, answer
        yield 0x0000, None


def pacs_at(port: int, **more: object) -> Settings:
    destination = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, **more}
    return settings(destination=[destination])


def looked_at(site: Settings, *, store: bool = False) -> dict[str, Check]:
    return by_subject(look_at_destination(site, site.destination[0], store=store))


@contextmanager
def ports_of_others(*, answer: bytes = b"") -> Iterator[int]:
    """A port that another program holds: it says ``answer`` and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


# --- destinations


def test_a_destination_that_takes_all_is_well_and_nothing_is_written_to_it() -> None:
    with Archive() as archive:
        found = looked_at(pacs_at(archive.port))
        assert archive.stored == {}
    assert {check.state for check in found.values()} == {State.OK}
    assert set(found) == {"echo", "page", "overlay", "report", "proof", "way back"}
    assert "knows us as NEUROTRIAGE" in found["echo"].said
    assert found["page"].said == "taken as Explicit VR Little Endian"
    assert found["proof"].said == "by query"


def test_a_test_study_that_is_asked_for_is_stored_under_a_test_name_and_found_again() -> None:
    with Archive() as archive:
        found = looked_at(pacs_at(archive.port), store=True)
        stored = list(archive.stored.values())
    assert {check.state for check in found.values()} == {State.OK}
    assert {"shown back page", "shown back overlay", "shown back report"} <= set(found)
    assert {str(one.PatientName) for one in stored} == {"NEUROTRIAGE^TEST"}
    assert {one.PatientID for one in stored} == {"NEUROTRIAGE-TEST"}
    assert {one.SOPClassUID for one in stored} == {SECONDARY_CAPTURE, REPORT}
    assert f"{len(stored)} of {len(stored)} objects" in found["store"].said


def test_two_test_studies_are_two_studies() -> None:
    with Archive() as archive:
        site = pacs_at(archive.port, objects=["page"])
        looked_at(site, store=True)
        looked_at(site, store=True)
        assert len({one.StudyInstanceUID for one in archive.stored.values()}) == 2


def test_a_destination_that_says_success_and_keeps_nothing_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("neurotriage.doctor.destinations._FOUND_WITHIN_S", 0.0)
    with Archive(keeps=False) as archive:
        found = looked_at(pacs_at(archive.port, objects=["page"]), store=True)
    assert found["store"].state is State.OK
    assert found["shown back page"].state is State.FAILED
    assert "taken and are not found" in found["shown back page"].said


def test_an_object_that_a_destination_refuses_is_named_with_its_sop_class() -> None:
    with Archive([SECONDARY_CAPTURE]) as archive:
        found = looked_at(pacs_at(archive.port))
    assert found["page"].state is State.OK
    assert found["report"].state is State.WARNING
    assert found["report"].said == "Comprehensive 3D SR Storage is refused"
    assert REPORT in found["report"].advice


def test_a_destination_that_takes_nothing_fails() -> None:
    with Archive([]) as archive:
        found = looked_at(pacs_at(archive.port))
    assert {found[kind].state for kind in ("page", "overlay", "report")} == {State.FAILED}


def test_a_destination_that_does_not_know_us_is_told_apart_from_one_that_is_not_there() -> None:
    with Archive(strict=True) as archive:
        found = looked_at(pacs_at(archive.port))
    assert found["reached"].state is State.FAILED
    assert "does not know our AE title NEUROTRIAGE" in found["reached"].said
    gone = looked_at(pacs_at(free_port()))
    assert gone["reached"].said.endswith("does not answer")


def test_a_destination_that_never_says_a_word_is_left_within_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dimse, "_CONNECT_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = looked_at(pacs_at(silent.getsockname()[1]))
    assert found["reached"].said.endswith("does not answer")


def test_a_destination_without_any_proof_is_a_warning(tmp_path: Path) -> None:
    with StandInPacs(tmp_path) as pacs:
        found = looked_at(pacs_at(pacs.port))
    assert found["proof"].state is State.WARNING


def test_a_destination_that_our_listener_would_not_let_in_is_a_warning() -> None:
    with Archive() as archive:
        site = pacs_at(archive.port)
        site = settings(**site.model_dump(exclude={"peer"}), peer=[{"ae_title": "CT1", "host": "10.0.0.1"}])
        found = looked_at(site)
    assert found["way back"].state is State.WARNING
    assert "[[peer]] PACS" in found["way back"].advice


def test_a_destination_that_is_the_sender_needs_a_peer_with_a_port() -> None:
    back = [{"name": "back", "to_sender": True}]
    unknown = settings(destination=back, peer=[{"ae_title": "CT1", "host": "127.0.0.1"}])
    assert looked_at(unknown)["address"].state is State.FAILED
    with Archive() as archive:
        peer = {"ae_title": "PACS", "host": "127.0.0.1", "port": archive.port}
        assert looked_at(settings(destination=back, peer=[peer]))["echo"].state is State.OK


def test_a_web_destination_that_does_not_answer_fails() -> None:
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    found = looked_at(settings(destination=[{"name": "web", "type": "dicomweb", "url": url}]))
    assert found["reached"].state is State.FAILED


# --- our own listener


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[..., Settings]]:
    """Start a listener on a free port; the settings that name it."""
    started: list[Listener] = []

    def start(**more: object) -> Settings:
        site = settings(
            listener={"port": free_port(), "host": "127.0.0.1"},
            storage={"root": tmp_path / "storage", "min_free_bytes": 0},
            **more,
        )
        started.append(Listener(site))
        started[-1].start()
        return site

    yield start
    for listener in started:
        listener.stop()


def test_a_listener_that_runs_answers_an_echo(listening: Callable[..., Settings]) -> None:
    found = by_subject(look_at_listener(listening(), 0))
    assert found["port"].state is State.OK
    assert "answers a C-ECHO" in found["port"].said


def test_a_listener_whose_peers_are_elsewhere_is_recognised(listening: Callable[..., Settings]) -> None:
    found = by_subject(look_at_listener(listening(peer=[{"ae_title": "CT1", "host": "10.0.0.1"}]), 0))
    assert found["port"].state is State.OK
    assert "no [[peer]] is this host" in found["port"].said


def test_a_port_that_another_program_holds_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimse, "_CONNECT_TIMEOUT_S", 0.5)
    with ports_of_others(answer=b"HTTP/1.1 400\r\n\r\n") as port:
        found = by_subject(look_at_listener(settings(listener={"port": port}), 0))
    assert found["port"].state is State.FAILED
    assert "Another program" in found["port"].advice


def test_a_free_port_is_a_warning_that_says_what_to_start() -> None:
    found = by_subject(look_at_listener(settings(listener={"port": free_port()}), 0))
    assert found["port"].state is State.WARNING
    assert "neurotriage listen" in found["port"].advice


def test_an_address_that_is_not_ours_fails() -> None:
    found = by_subject(look_at_listener(settings(listener={"host": "192.0.2.1", "port": 11112}), 0))
    assert found["port"].state is State.FAILED
    assert "EADDRNOTAVAIL" in found["port"].said


@pytest.mark.parametrize("sent", [True, False])
def test_an_echo_from_the_destination_is_awaited_within_a_limit(tmp_path: Path, sent: bool) -> None:
    port = free_port()
    site = settings(
        listener={"port": port},
        storage={"root": tmp_path, "min_free_bytes": 0},
        destination=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}],
    )

    def echo() -> None:
        entity = AE("PACS")
        entity.add_requested_context(VERIFICATION)
        while True:  # until the doctor listens
            association = entity.associate("127.0.0.1", port, ae_title="NEUROTRIAGE")
            if association.is_established:
                association.send_c_echo()
                association.release()
                return

    if sent:
        threading.Thread(target=echo, daemon=True).start()
    found = by_subject(look_at_listener(site, 20 if sent else 0.2))["echo back"]
    assert found.state is (State.OK if sent else State.FAILED)
    assert "PACS" in found.said


# --- database


def test_a_database_of_this_version_is_well(database_url: str) -> None:
    found = by_subject(look_at_database(settings(database={"url": database_url})))
    assert {check.state for check in found.values()} == {State.OK}
    assert set(found) == {"connection", "clock", "schema", "rights", "reader"}


def test_a_database_without_our_tables_fails(database_url: str) -> None:
    empty = make_url(database_url).set(database="postgres").render_as_string(hide_password=False)
    found = by_subject(look_at_database(settings(database={"url": empty})))
    assert found["schema"].state is State.FAILED
    assert "neurotriage migrate" in found["schema"].advice


def test_a_database_whose_clock_is_wrong_fails(engine: Engine, database_url: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("create schema wrong"))
        connection.execute(
            text(
                "create function wrong.clock_timestamp() returns timestamptz "
                "return pg_catalog.clock_timestamp() - interval '1 minute'"
            )
        )
        name = make_url(database_url).database
        connection.execute(text(f'alter database "{name}" set search_path = wrong, pg_catalog, public'))
    found = by_subject(look_at_database(settings(database={"url": database_url})))
    assert found["clock"].state is State.FAILED
    assert found["clock"].said == "60.0 s behind this host"


@pytest.fixture
def role(engine: Engine) -> Iterator[str]:
    name = f"doctor_{os.getpid()}"
    with engine.begin() as connection:
        connection.execute(text(f"create role {name} login"))
    yield name
    with engine.begin() as connection:
        connection.execute(text(f"drop owned by {name}"))
        connection.execute(text(f"drop role {name}"))


def test_a_reader_is_named_and_one_that_may_read_more_is_a_warning(
    engine: Engine, database_url: str, role: str
) -> None:
    site = settings(database={"url": database_url})
    with engine.begin() as connection:
        connection.execute(text(f"grant select on study_results to {role}"))
    found = by_subject(look_at_database(site))["reader"]
    assert (found.state, role in found.said) == (State.OK, True)
    with engine.begin() as connection:
        connection.execute(text(f"grant select on studies to {role}"))
    assert by_subject(look_at_database(site))["reader"].state is State.WARNING


def test_a_role_that_may_not_write_fails(engine: Engine, database_url: str, role: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"alter role {role} password 'pw'"))
        connection.execute(text(f"grant select on alembic_version, study_results to {role}"))
    url = make_url(database_url).set(username=role, password="pw").render_as_string(hide_password=False)
    found = by_subject(look_at_database(settings(database={"url": url})))
    assert found["rights"].state is State.FAILED


@pytest.mark.parametrize("url", ["postgresql+psycopg2://me:hunter2@127.0.0.1:1/n", "me:hunter2@nowhere"])
def test_a_database_that_cannot_be_reached_fails_and_its_password_stays_secret(url: str) -> None:
    (found,) = look_at_database(settings(database={"url": url}))
    assert found.state is State.FAILED
    assert "hunter2" not in repr(found)


# --- broker and workers


def test_a_broker_takes_a_message_there_and_back_and_keeps_nothing(broker_url: str) -> None:
    kept = redis.Redis.from_url(broker_url)
    kept.flushall()
    found = by_subject(look_at_queue(settings(broker={"url": broker_url})))
    assert found["broker"].state is State.OK
    assert found["analysis worker"].state is found["delivery worker"].state is State.WARNING
    assert [key for key in kept.scan_iter() if b"doctor" in key] == []


def test_a_broker_that_does_not_answer_fails_and_its_password_stays_secret() -> None:
    (found,) = look_at_queue(settings(broker={"url": "redis://:hunter2@127.0.0.1:1/0"}))
    assert found.state is State.FAILED
    assert "hunter2" not in repr(found)


def test_a_worker_that_runs_is_seen(database_url: str, broker_url: str, tmp_path: Path) -> None:
    site = settings(database={"url": database_url}, broker={"url": broker_url}, storage={"root": tmp_path})
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "neurotriage", "work", "--role", "delivery"],
            env={**os.environ, **environment_of(site)},
            stdout=log,
            stderr=log,
        )
        try:
            for _ in range(30):  # each look waits for answers by itself
                found = by_subject(look_at_queue(site))["delivery worker"]
                if found.state is State.OK:
                    break
            assert found.state is State.OK, (tmp_path / "log").read_text()
            assert found.said.startswith("delivery-")
        finally:
            worker.terminate()
            worker.wait(20)


# --- this host


@pytest.mark.parametrize("title", ["", "   ", "BACK\\SLASH", "ümlaut", "TAB\t"])
def test_an_ae_title_that_dicom_does_not_allow_fails(title: str) -> None:
    found = by_subject(look_at_configuration(settings(listener={"ae_title": title})))
    assert found["AE titles"].state is State.FAILED


def test_a_configuration_in_which_nobody_may_send_fails() -> None:
    found = by_subject(look_at_configuration(settings(listener={"host": "10.0.0.1"})))
    assert found["peers"].state is State.FAILED
    assert found["destinations"].state is State.WARNING


def test_two_destinations_of_one_name_fail() -> None:
    one = {"name": "pacs", "ae_title": "PACS", "host": "pacs", "port": 104}
    found = by_subject(look_at_configuration(settings(destination=[one, one])))
    assert found["destinations"].state is State.FAILED


def test_a_disk_with_room_takes_a_durable_write_and_is_left_as_it_was(tmp_path: Path) -> None:
    site = settings(storage={"root": tmp_path, "min_free_bytes": 0})
    found = by_subject(look_at_storage(site))
    assert found["room"].state is State.OK
    assert found["durable write"].state in (State.OK, State.WARNING)  # a busy disk is slow
    assert list(tmp_path.iterdir()) == []


def test_a_disk_below_its_limit_fails(tmp_path: Path) -> None:
    found = by_subject(look_at_storage(settings(storage={"root": tmp_path, "min_free_bytes": 2**60})))
    assert found["room"].state is State.FAILED
    assert "0xA700" in found["room"].advice


def test_a_folder_that_cannot_be_written_or_is_not_there_fails(tmp_path: Path) -> None:
    written = by_subject(look_at_storage(settings(storage={"root": "/proc", "min_free_bytes": 0})))
    assert written["durable write"].state is State.FAILED
    (absent,) = look_at_storage(settings(storage={"root": tmp_path / "none"}))
    assert absent.state is State.FAILED


def test_weights_whose_hash_is_right_and_that_do_not_load_fail(tmp_path: Path) -> None:
    found = by_subject(look_at_weights(settings(worker={"weights": hollow_weights(tmp_path)})))
    assert found["hashes"].state is State.OK
    assert found["weights"].state is State.FAILED


def test_the_weights_that_come_with_the_program_load() -> None:
    found = by_subject(look_at_weights(settings()))
    assert {check.state for check in found.values()} == {State.OK}
    assert "MR model" in found


# --- all together


def test_a_part_that_hangs_is_left_and_a_part_with_a_bug_hides_nothing() -> None:
    woken = threading.Event()

    def hangs() -> Iterator[Check]:
        yield ok("first", "seen")
        woken.wait(30)

    def breaks() -> Iterator[Check]:
        yield ok("first", "seen")
        raise ValueError("postgresql://me:hunter2@db")

    hung, broken, fine = examine(
        [Probe("a", 0.3, hangs), Probe("b", 5, breaks), Probe("c", 5, lambda: iter([ok("first", "seen")]))]
    )
    woken.set()
    assert [check.said for check in hung.checks] == ["seen", "no answer within 0.3 s"]
    assert [check.state for check in broken.checks] == [State.OK, State.FAILED]
    assert [part.hangs for part in (hung, broken, fine)] == [True, False, False]
    assert "hunter2" not in repr(broken)
    assert [check.state for check in fine.checks] == [State.OK]


@pytest.fixture
def site(
    database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Archive]:
    """The program's environment names a whole set-up, of which nothing runs but the PACS."""
    (tmp_path / "storage").mkdir()
    with Archive() as archive:
        site = settings(
            listener={"port": free_port()},
            database={"url": database_url},
            broker={"url": broker_url},
            storage={"root": tmp_path / "storage", "min_free_bytes": 0},
            destination=[
                {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": archive.port},
                {"name": "gone", "ae_title": "GONE", "host": "127.0.0.1", "port": free_port()},
            ],
        )
        for name, value in environment_of(site).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
        monkeypatch.setenv("COLUMNS", "160")
        yield archive


def _doctor(*options: str) -> subprocess.CompletedProcess[str]:
    """The command as a process: it sets up logging for all of it."""
    words = [sys.executable, "-m", "neurotriage", "doctor", *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)


def test_the_command_looks_at_everything_and_fails_where_a_destination_is_gone(site: Archive) -> None:
    answer = _doctor("--json")
    assert answer.returncode == 1, answer.stderr
    parts = {part["name"]: part["checks"] for part in json.loads(answer.stdout)}
    assert list(parts) == [
        "configuration",
        "storage",
        "database",
        "queue",
        "weights",
        "listener",
        "destination pacs",
        "destination gone",
    ]
    failed = {name for name, checks in parts.items() if any(c["state"] == "failed" for c in checks)}
    assert failed == {"destination gone"}
    assert all(c["advice"] for checks in parts.values() for c in checks if c["state"] != "ok")
    assert site.stored == {}
    assert answer.stderr == ""


def test_the_command_looks_at_one_destination_and_succeeds_without_a_failure(site: Archive) -> None:
    answer = _doctor("--destination", "pacs", "--store")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "destination gone" not in answer.stdout
    assert "shown back page" in answer.stdout
    assert len(site.stored) > 1


@pytest.mark.usefixtures("site")
def test_a_destination_that_is_not_configured_is_wrong_usage() -> None:
    answer = _doctor("--destination", "pasc")
    assert answer.returncode == 2
    assert answer.stderr == "no [[destination]] has the name pasc\n"


@pytest.mark.usefixtures("site")
def test_no_password_is_printed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    password = make_url(database_url).password
    assert isinstance(password, str)
    monkeypatch.setenv("NEUROTRIAGE__BROKER", '{"url": "redis://:only-password@127.0.0.1:1/0"}')
    answer = _doctor("--json")
    assert "127.0.0.1:1" in answer.stdout
    for secret in (password, "only-password"):
        assert secret not in answer.stdout + answer.stderr


def test_a_part_that_hangs_does_not_take_the_exit_code_with_it(site: Archive) -> None:
    """A thread in the middle of a library would make the interpreter wait, or abort."""
    script = (
        "import neurotriage.doctor as d\n"
        "from neurotriage.cli import main\n"
        "def stuck(_):\n"
        "    import torch\n"
        "    while True:\n"
        "        yield from () if (torch.ones(400, 400) @ torch.ones(400, 400)).any() else ()\n"
        "d.look_at_weights, d._WEIGHTS_LIMIT_S = stuck, 0.01\n"
        "main()\n"
    )
    words = [sys.executable, "-c", script, "doctor", "--destination", "pacs"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert answer.returncode == 1, answer.stderr
    assert "no answer within 0.01 s" in answer.stdout
    assert site.stored == {}


@pytest.mark.parametrize(
    ("peer", "state"),
    [
        ({"host": "10.1.0.0/16", "port": 104}, State.WARNING),
        ({"host": "10.1.2.3"}, State.FAILED),
    ],
)
def test_senders_that_cannot_be_tried_are_no_failure_if_they_can_be_sent_to(
    peer: dict[str, Any], state: State
) -> None:
    site = settings(peer=[{"ae_title": "CT1", **peer}], destination=[{"name": "back", "to_sender": True}])
    (check,) = look_at_destination(site, site.destination[0], store=False)
    assert (check.subject, check.state) == ("address", state)


def test_an_intake_that_only_seems_encrypted_is_told(tmp_path: Path) -> None:
    set_up = settings(listener={"tls": {"certificate": tmp_path / "a.pem"}})
    assert by_subject(look_at_configuration(set_up))["intake"].state is State.WARNING
    assert "intake" not in by_subject(look_at_configuration(settings()))
