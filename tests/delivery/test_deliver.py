"""Results go to real listeners, and each object ends in a state that says why."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from sqlalchemy import Engine, text

from db.records import WrittenObject
from neurotriage.core.settings import Settings
from neurotriage.core.storage import write_durably
from neurotriage.demo.pacs import StandInPacs
from tests.core.made import part10
from tests.db.rows import analysed, claimed, ready_revision, written
from worker.delivery import deliver, dimse

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"


def result(number: int, sop_class: str = SECONDARY_CAPTURE) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"2.25.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "2.25.7"
    dataset.PatientName = "Müller^山田"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset


class Site:
    """Results that wait, a storage folder, and the states of the deliveries."""

    def __init__(self, engine: Engine, root: Path) -> None:
        self.engine = engine
        self.root = root
        self.settings = Settings.model_validate(
            {"storage": {"root": root}, "delivery": {"retry_s": 10, "retry_max_s": 1000}}
        )

    def destination(self, name: str, port: int, ae_title: str = "PACS", host: str = "127.0.0.1") -> None:
        added = {"name": name, "ae_title": ae_title, "host": host, "port": port}
        known = [d.model_dump() for d in self.settings.destination if d.name != name]
        self.settings = Settings.model_validate(
            {**self.settings.model_dump(), "destination": [*known, added]}
        )

    def results(
        self, *numbers: int, study: str = "1.2.3", to: Sequence[str] = ("pacs",), report: int | None = None
    ) -> None:
        """An analysed study whose objects wait; ``report`` is the number of the one that is an SR."""
        objects = [
            self._write(number, REPORT if number == report else SECONDARY_CAPTURE) for number in numbers
        ]
        with self.engine.begin() as connection:
            held = claimed(connection, ready_revision(connection, study=study))
            analysed(connection, held, *(replace(made, destinations=tuple(to)) for made in objects))

    def _write(self, number: int, sop_class: str) -> WrittenObject:
        data = part10(result(number, sop_class))
        made = written(number)
        write_durably(self.root / made.path, data)
        return replace(made, result=replace(made.result, sop_class_uid=sop_class, data=data))

    def deliver(self, destination: str = "pacs") -> int:
        return deliver(self.engine, self.settings, destination, owner="test")

    def states(self, destination: str = "pacs") -> list[tuple[str, int, str]]:
        """(state, attempts, last status) of each delivery."""
        return [
            (row[0], row[1], row[2])
            for row in self._rows(
                "select state, attempts, last_status from deliveries where destination = :name order by id",
                name=destination,
            )
        ]

    def next_try_in_s(self) -> float:
        ((seconds,),) = self._rows("select extract(epoch from next_try_at - now()) from deliveries limit 1")
        return float(seconds)

    def let_time_pass(self) -> None:
        self._rows("update deliveries set next_try_at = now() returning id")

    def _rows(self, statement: str, **values: str) -> Sequence[Any]:
        with self.engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]


@pytest.fixture
def site(engine: Engine, tmp_path: Path) -> Site:
    return Site(engine, tmp_path / "storage")


@pytest.fixture
def pacs(site: Site, tmp_path: Path) -> Iterator[StandInPacs]:
    with StandInPacs(tmp_path / "pacs") as running:
        site.destination("pacs", running.port)
        yield running


Answer = Callable[[evt.Event], int]


@contextmanager
def listener(
    answer: Answer = lambda _: 0x0000,
    *,
    classes: Sequence[str] = (SECONDARY_CAPTURE, REPORT),
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    title: str = "PACS",
    strict: bool = False,
    on_requested: Callable[[evt.Event], None] = lambda _: None,
) -> Iterator[int]:
    """A listener that does as it is told, on a port of its own."""
    ae = AE(title)
    ae.require_called_aet = strict
    for sop_class in classes:
        ae.add_supported_context(sop_class, list(syntaxes))
    handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, answer), (evt.EVT_REQUESTED, on_requested)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()


def _uid(event: evt.Event) -> str:
    assert isinstance(event.request, C_STORE)
    return str(event.request.AffectedSOPInstanceUID)


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_what_waits_is_stored_once_and_as_it_was_made(site: Site, pacs: StandInPacs) -> None:
    site.results(1, 2)
    assert site.deliver() == 2
    assert site.states() == [("stored", 1, "stored")] * 2
    assert list(pacs.received()) == ["2.25.1", "2.25.2"]
    assert dcmread(pacs.received()["2.25.1"]) == result(1)
    assert site.deliver() == 0
    assert pacs.stores == 2


def test_a_pacs_that_takes_implicit_vr_only_gets_the_same_in_implicit_vr(site: Site) -> None:
    stored: list[Dataset] = []

    def keeps(event: evt.Event) -> int:
        stored.append(event.dataset)
        return 0x0000

    with listener(keeps, syntaxes=[ImplicitVRLittleEndian]) as port:
        site.destination("pacs", port)
        site.results(1)
        assert site.deliver() == 1
    assert stored == [result(1)]


def test_a_pacs_that_takes_our_class_compressed_only_says_so(site: Site) -> None:
    with listener(syntaxes=[JPEG2000Lossless]) as port:
        site.destination("pacs", port)
        site.results(1)
        assert site.deliver() == 0
    assert site.states() == [
        ("refused", 1, "refused at negotiation: uncompressed transfer syntaxes not supported")
    ]


def test_a_study_is_one_association(site: Site) -> None:
    requested: list[evt.Event] = []
    with listener(on_requested=requested.append) as port:
        site.destination("pacs", port)
        site.results(1, 2, 3)
        site.results(4, 5, study="1.2.4")
        assert site.deliver() == 5
    assert len(requested) == 2


def test_a_pacs_that_is_down_is_tried_again_later_and_then_gets_it(site: Site, pacs: StandInPacs) -> None:
    pacs.stop()
    site.results(1, 2)
    assert site.deliver() == 0
    sentence = f"PACS at 127.0.0.1:{pacs.port} does not answer"
    assert site.states() == [("waiting", 1, sentence)] * 2
    assert 5 < site.next_try_in_s() <= 10
    pacs.start()
    assert site.deliver() == 0  # not yet due
    site.let_time_pass()
    assert site.deliver() == 2
    assert site.states() == [("stored", 2, "stored")] * 2


def test_a_host_without_an_address_is_a_pacs_that_is_down(site: Site) -> None:
    site.destination("pacs", 104, host="pacs.invalid")
    site.results(1)
    assert site.deliver() == 0
    ((state, _, sentence),) = site.states()
    assert state == "waiting"
    assert sentence.startswith("PACS at pacs.invalid:104 does not answer: ")


def test_a_pacs_out_of_resources_is_tried_again_at_growing_distances(site: Site, pacs: StandInPacs) -> None:
    pacs.answer = 0xA700
    site.results(1)
    for attempt, longest_s in enumerate((10, 20, 40), 1):
        site.let_time_pass()
        assert site.deliver() == 0
        assert site.states() == [("waiting", attempt, "the destination is out of resources (0xA700)")]
        assert longest_s / 2 < site.next_try_in_s() <= longest_s
    pacs.answer = 0x0000
    site.let_time_pass()
    assert site.deliver() == 1


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122])
def test_a_refusal_is_for_good_and_has_a_sentence(site: Site, pacs: StandInPacs, status: int) -> None:
    pacs.answer = status
    site.results(1)
    assert site.deliver() == 0
    ((state, attempts, sentence),) = site.states()
    assert (state, attempts) == ("refused", 1)
    assert sentence.startswith("refused: ")
    assert f"0x{status:04X}" in sentence
    site.let_time_pass()
    site.deliver()
    assert pacs.stores == 1


def test_a_class_that_is_refused_at_negotiation_does_not_hold_up_the_others(site: Site) -> None:
    with listener(classes=(SECONDARY_CAPTURE,)) as port:
        site.destination("pacs", port)
        site.results(1, 2, 3, report=2)
        assert site.deliver() == 2
    assert [state for state, _, _ in site.states()] == ["stored", "refused", "stored"]
    assert site.states()[1][2] == "refused at negotiation: SOP class not supported"


def test_a_pacs_that_takes_none_of_our_classes_refuses_all(site: Site) -> None:
    with listener(classes=("1.2.840.10008.5.1.4.1.1.4",)) as port:
        site.destination("pacs", port)
        site.results(1, 2, report=2)
        assert site.deliver() == 0
    assert {state for state, _, _ in site.states()} == {"refused"}


def test_a_pacs_that_does_not_know_its_ae_title_is_named_and_tried_again(site: Site) -> None:
    with listener(title="OTHER", strict=True) as port:
        site.destination("pacs", port, ae_title="PACS")
        site.results(1)
        assert site.deliver() == 0
    ((state, attempts, sentence),) = site.states()
    assert (state, attempts) == ("waiting", 1)
    assert "rejected the association; check both AE titles" in sentence


def test_after_the_last_try_a_delivery_is_given_up(site: Site, pacs: StandInPacs) -> None:
    site.settings = Settings.model_validate({**site.settings.model_dump(), "delivery": {"max_attempts": 2}})
    pacs.answer = 0xA700
    site.results(1)
    site.deliver()
    site.let_time_pass()
    site.deliver()
    sentence = "given up after 2 tries; last: the destination is out of resources (0xA700)"
    assert site.states() == [("given_up", 2, sentence)]
    site.let_time_pass()
    site.deliver()
    assert pacs.stores == 2


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "bare", "same length"])
def test_a_damaged_result_is_told_and_the_others_are_sent(site: Site, pacs: StandInPacs, damage: str) -> None:
    site.results(1, 2)
    file = site.root / written(1).path
    whole = file.read_bytes()
    damaged = {"empty": b"", "text": b"text" * 200, "truncated": whole[:-20], "bare": whole[:132]}
    file.write_bytes(damaged.get(damage, b"?" * len(whole)))
    assert site.deliver() == 1
    (broken, fine) = site.states()
    assert broken[0] == "refused"
    assert broken[2].startswith("the result file is damaged: ")
    assert fine[0] == "stored"
    assert pacs.stores == 1


def test_a_result_that_is_not_there_is_waited_for_and_the_others_are_sent(
    site: Site, pacs: StandInPacs
) -> None:
    """A shared storage that went away may come back."""
    site.results(1, 2)
    file = site.root / written(1).path
    aside = file.rename(file.with_suffix(".aside"))
    assert site.deliver() == 1
    assert site.states()[0] == ("waiting", 1, "the result file cannot be read: No such file or directory")
    aside.rename(file)
    site.let_time_pass()
    assert site.deliver() == 1
    assert len(pacs.received()) == 2


def test_a_connection_lost_in_mid_study_is_taken_up_where_it_broke(site: Site) -> None:
    stores: list[str] = []

    def breaks(event: evt.Event) -> int:
        stores.append(_uid(event))
        if len(stores) == 2:
            event.assoc.abort()
        return 0x0000

    with listener(breaks) as port:
        site.destination("pacs", port)
        site.results(1, 2, 3)
        assert site.deliver() == 1
        assert [state for state, _, _ in site.states()] == ["stored", "waiting", "waiting"]
        assert "no answer" in site.states()[1][2]
        site.let_time_pass()
        assert site.deliver() == 2
    assert stores == ["2.25.1", "2.25.2", "2.25.2", "2.25.3"]


def test_a_pacs_that_takes_an_object_and_never_answers_is_waited_for_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dimse, "_ANSWER_TIMEOUT_S", 0.3)
    woken = threading.Event()

    def sleeps(_: evt.Event) -> int:
        woken.wait(10)
        return 0x0000

    with listener(sleeps) as port:
        site.destination("pacs", port)
        site.results(1, 2)
        begun = time.monotonic()
        assert site.deliver() == 0
        assert time.monotonic() - begun < 3
        woken.set()
    assert [state for state, _, _ in site.states()] == ["waiting", "waiting"]


def test_a_dead_destination_does_not_hold_up_another(
    site: Site, pacs: StandInPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dimse, "_CONNECT_TIMEOUT_S", 1.5)
    site.results(1, 2, to=("pacs", "dead"))
    with black_hole() as port:
        site.destination("dead", port)
        dead = threading.Thread(target=site.deliver, args=("dead",))
        dead.start()
        assert site.deliver("pacs") == 2
        assert dead.is_alive()
        dead.join(10)
    assert [state for state, _, _ in site.states("pacs")] == ["stored", "stored"]
    assert [state for state, _, _ in site.states("dead")] == ["waiting", "waiting"]
    assert "does not answer" in site.states("dead")[0][2]


def test_a_second_sender_to_one_destination_goes_home(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimse, "_CONNECT_TIMEOUT_S", 1.0)
    site.results(1)
    with black_hole() as port:
        site.destination("pacs", port)
        first = threading.Thread(target=site.deliver)
        first.start()
        time.sleep(0.3)
        begun = time.monotonic()
        assert site.deliver() == 0
        assert time.monotonic() - begun < 0.5
        first.join(10)
    assert site.states()[0][1] == 1


def _steal(site: Site) -> None:
    """Another process takes the destination, as after a lease that ran out."""
    with site.engine.begin() as connection:
        connection.execute(text("update destination_leases set token = token + 1, owner = 'thief'"))


def test_a_sender_that_lost_its_right_stops_and_leaves_the_lease_alone(site: Site) -> None:
    stores: list[str] = []

    def robbed(event: evt.Event) -> int:
        stores.append(_uid(event))
        _steal(site)
        return 0x0000

    with listener(robbed) as port:
        site.destination("pacs", port)
        site.results(1, 2)
        assert site.deliver() == 0
    assert stores == ["2.25.1"]
    assert [state for state, _, _ in site.states()] == ["sending", "waiting"]
    with site.engine.begin() as connection:
        owner = connection.execute(text("select owner from destination_leases where lease_until > now()"))
        assert owner.scalar_one() == "thief"


def test_a_sender_that_loses_its_right_before_it_sends_sends_nothing(site: Site) -> None:
    stores: list[str] = []

    def takes(event: evt.Event) -> int:
        stores.append(_uid(event))
        return 0x0000

    def robs(_: evt.Event) -> None:
        _steal(site)

    with listener(takes, on_requested=robs) as port:
        site.destination("pacs", port)
        site.results(1, 2)
        assert site.deliver() == 0
    assert stores == []
    assert [state for state, _, _ in site.states()] == ["waiting", "waiting"]


def test_what_is_cancelled_while_its_study_is_sent_stays_here(site: Site) -> None:
    stores: list[str] = []

    def cancels(event: evt.Event) -> int:
        stores.append(_uid(event))
        with site.engine.begin() as connection:
            connection.execute(text("update deliveries set state = 'given_up' where state = 'waiting'"))
        return 0x0000

    with listener(cancels) as port:
        site.destination("pacs", port)
        site.results(1, 2)
        assert site.deliver() == 1
    assert stores == ["2.25.1"]
    assert [state for state, _, _ in site.states()] == ["stored", "given_up"]


def test_a_destination_that_the_configuration_does_not_know_changes_nothing(site: Site) -> None:
    site.results(1)
    assert site.deliver("pacs") == 0
    assert site.states() == [("waiting", 0, "")]


def test_each_end_of_a_delivery_is_an_event(site: Site, pacs: StandInPacs) -> None:
    site.results(1)
    site.deliver()
    with site.engine.begin() as connection:
        detail = connection.execute(text("select detail from events where kind = 'stored'")).scalar_one()
    assert detail == {"destination": "pacs", "sop_instance_uid": "2.25.1"}
    assert pacs.stores == 1
