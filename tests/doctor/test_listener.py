"""What is told of our own listener, and of who holds its port."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE

from dicom_listener.server import Listener
from neurotriage.core.process.running import LISTENER, note_start
from neurotriage.core.settings import Settings
from neurotriage.doctor import State
from neurotriage.doctor.listener import look_at_listener
from neurotriage.embedded.process import free_port
from tests.doctor.looks import VERIFICATION, by_subject, settings
from worker.delivery import dimse


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


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        ({"peer": [{"ae_title": "CT1", "host": "10.0.0.1"}]}, "[[peer]]"),
        ({"assembly": {"quiet_s": 7}}, "[assembly]"),
        ({"destination": [{"name": "p", "ae_title": "P", "host": "h", "port": 1}]}, None),  # not its business
    ],
)
def test_a_listener_that_started_before_the_configuration_was_edited_fails(
    listening: Callable[..., Settings], edit: dict[str, object], named: str | None
) -> None:
    site = listening()
    note_start(site, LISTENER, LISTENER)
    edited = settings(**site.model_dump(exclude=set(edit)), **edit)
    found = by_subject(look_at_listener(edited, 0))["port"]
    if named is None:
        assert found.state is State.OK
        return
    assert found.state is State.FAILED
    assert found.said == f"configuration edited since the listener started: {named}"
    assert "Restart `neurotriage listen`" in found.advice


def test_a_listener_whose_ae_title_was_edited_is_told_so_and_not_as_another_program(
    listening: Callable[..., Settings],
) -> None:
    site = listening()
    note_start(site, LISTENER, LISTENER)
    listener = {**site.listener.model_dump(), "ae_title": "NEWNAME"}
    found = by_subject(
        look_at_listener(settings(**site.model_dump(exclude={"listener"}), listener=listener), 0)
    )
    assert found["port"].said == "configuration edited since the listener started: [listener]"


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
