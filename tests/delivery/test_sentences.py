"""What is told of a destination is what happened there, and what it says itself is kept, not logged."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from structlog.testing import capture_logs

from neurotriage.demo.pacs import StandInPacs
from neurotriage.embedded.process import free_port
from tests.delivery.archive import Archive
from tests.delivery.conftest import SECONDARY_CAPTURE, Site, black_hole, listener, storescp
from tests.delivery.web import Service, failed
from worker.delivery import dimse

NAME = "Canary^Patient"


def _answer(status: int, words: str) -> Dataset:
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, words
    return answer


@pytest.mark.parametrize("status", [0xC000, 0xA700, 0x0110, 0xB000])
def test_the_words_of_a_destination_are_kept_and_no_log_has_them(site: Site, status: int) -> None:
    with Archive(finds=False) as archive, capture_logs() as logs:
        archive.on_store = lambda _: _answer(status, f"{NAME} is merged")
        site.choose(delivery={"alarm_after_s": 0.001})
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
    assert site.column("comment") == [f"{NAME} is merged"]
    assert NAME not in site.states()[0][2]
    assert NAME not in str(logs)
    with site.engine.begin() as connection:
        assert NAME not in str(connection.exec_driver_sql("select detail from events").all())


def test_the_words_go_with_the_answer(site: Site) -> None:
    with Archive(finds=False) as archive:
        archive.on_store = lambda _: _answer(0xA700, "disk full")
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        archive.on_store = lambda _: 0x0000
        site.let_time_pass()
        site.deliver()
    assert site.column("comment") == [""]


@pytest.mark.parametrize(
    ("words", "kept"), [("a" * 5000, "a" * 128), ("a\r\n\0 b\x1b[31m", "a b [31m"), (7, "7")]
)
def test_the_words_of_a_web_archive_are_one_bounded_line(site: Site, words: object, kept: str) -> None:
    with Service() as service:
        answer = failed("2.25.1", 0xC000)
        answer["00081198"]["Value"][0]["00000902"] = {"vr": "LO", "Value": [words]}
        service.on_store = lambda _: (409, answer)
        site.web("pacs", service.url, find="off")
        site.results(1)
        site.deliver()
    assert site.column("comment") == [kept]


@contextmanager
def _network(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port behind which something else than a DICOM service takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _aborts(source: int, reason: int) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(100_000)
        connection.sendall(bytes([7, 0, 0, 0, 0, 4, 0, 0, source, reason]))
        connection.recv(1)

    return behave


def _closes(connection: socket.socket) -> None:
    connection.recv(100_000)


@pytest.mark.parametrize(
    ("behave", "sentence"),
    [
        (_aborts(0, 0), "aborted the association instead of accepting it"),
        (_aborts(2, 2), "aborted the association (unexpected PDU) instead of accepting it"),
        (_closes, "closed the connection instead of accepting the association"),
    ],
)
def test_an_association_that_does_not_come_about_is_told_as_it_was(
    site: Site, behave: Callable[[socket.socket], None], sentence: str
) -> None:
    with _network(behave) as port:
        site.destination("pacs", port)
        site.results(1)
        site.deliver()
    assert site.states() == [("waiting", 1, f"PACS at 127.0.0.1:{port} {sentence}")]


def test_silence_and_a_closed_port_are_told_apart(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimse, "_CONNECT_TIMEOUT_S", 1.0)
    with black_hole() as silent:
        site.destination("pacs", silent)
        site.results(1)
        site.deliver()
    words = "does not answer: it takes connections, and no association within 1 s"
    assert site.states()[0][2] == f"PACS at 127.0.0.1:{silent} {words}"
    site.destination("pacs", closed := free_port())
    site.let_time_pass()
    site.deliver()
    words = "does not answer: the connection was refused, or the host cannot be reached"
    assert site.states()[0][2] == f"PACS at 127.0.0.1:{closed} {words}"


@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
@pytest.mark.usefixtures("dcmtk")
def test_an_archive_that_aborts_is_not_one_that_does_not_answer(site: Site, option: str) -> None:
    port = free_port()
    site.destination("pacs", port)
    site.results(1, padding_bytes=2_000_000)
    with storescp(site.root / "pacs", port, option):
        site.deliver()
    ((state, _, sentence),) = site.states()
    assert (state, sentence.split(":")[0]) == ("waiting", "no answer")
    # What is still on its way to it may push the abort itself out of the connection.
    assert option == "--abort-during" or sentence == "no answer: the destination aborted the association"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (1, "the destination rejects this SOP class (user rejection)"),
        (2, "the destination gives no reason"),
        (3, "SOP class not supported"),
        (4, "uncompressed transfer syntaxes not supported"),
    ],
)
def test_each_result_of_a_refused_context_is_told_as_what_it_means(
    site: Site, monkeypatch: pytest.MonkeyPatch, result: int, words: str
) -> None:
    def refuse(event: evt.Event) -> None:
        """Like CTN and pynetdicom2, which answer 1 to a class that they do not know."""
        primitive = event.assoc.acse.send_accept

        def accept() -> None:
            for context in event.assoc.rejected_contexts:
                context.result = result
            primitive()

        event.assoc.acse.send_accept = accept

    with listener(classes=(SECONDARY_CAPTURE,), on_requested=refuse) as port:
        site.destination("pacs", port)
        site.results(1, 2, report=2)
        assert site.deliver() == 1
    assert site.states()[1] == ("refused", 1, f"refused at negotiation: {words}")


def test_one_cause_is_told_once(site: Site, pacs: StandInPacs) -> None:
    pacs.stop()
    site.choose(delivery={"alarm_after_s": 0.001})
    for study in range(1, 4):
        site.results(*range(10 * study, 10 * study + 5), study=f"1.2.{study}")
    with capture_logs() as logs:
        for _ in range(3):
            site.deliver()
            site.let_time_pass()
    told = [entry for entry in logs if entry["event"] == "delivery_alarm"]
    assert [(entry["objects"], entry["log_level"]) for entry in told] == [(15, "warning")]
    assert site.events().count("delivery_alarm") == 3  # one in the history of each study
