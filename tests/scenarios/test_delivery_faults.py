"""The delivery worker as a real process: killed, or beside a destination that is dead."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt

from db.engine import connect
from dicom_listener.dispatch import sweep
from neurotriage.core.process.doorbell import DELIVER, celery_app, ring
from neurotriage.core.settings import CONFIG_VARIABLE, Settings
from neurotriage.demo.pacs import StandInPacs
from neurotriage.embedded.stack import Stack
from tests.delivery.archive import SECONDARY_CAPTURE
from tests.delivery.conftest import Site as Results
from tests.delivery.conftest import black_hole
from tests.scenarios.conftest import Site
from worker.delivery.right import LEASE_S

pytestmark = pytest.mark.scenario


class Sending:
    """A delivery worker, results that wait for ``pacs`` and ``dead``, and both destinations."""

    def __init__(self, stack: Stack, pacs: StandInPacs) -> None:
        self.stack = stack
        self.pacs = pacs
        engine = connect(stack.settings.database.url)
        self.site = Site(stack, pacs, engine)
        self.results = Results(engine, stack.settings.storage.root)

    def ring(self, *destinations: str) -> None:
        app = celery_app(self.stack.settings)
        for name in destinations:
            assert ring(app, DELIVER, name)

    def states(self, destination: str) -> list[str]:
        return [state for state, _, _ in self.results.states(destination)]

    def wait_for(self, destination: str, states: list[str]) -> None:
        self.site.wait(f"{destination}: {states}", lambda: self.states(destination) == states)

    def expire_lease(self) -> None:
        """As after the seconds that a dead worker's lease lives on."""
        self.results.execute("update destination_leases set lease_until = now() - interval '1 second'")

    def kill(self) -> None:
        """kill -9, and wait until nobody is left who could still take a doorbell from the broker."""
        worker = self.stack.process("delivery")
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        self.site.wait("the worker's children are gone", lambda: not _group_lives(worker.pid), 60)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def sending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sending]:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    with StandInPacs(tmp_path / "pacs") as pacs, black_hole() as dead:
        address = {"host": "127.0.0.1", "ae_title": "PACS"}
        settings = Settings.model_validate(
            {
                "storage": {"root": tmp_path / "storage", "min_free_bytes": 0},
                "delivery": {"retry_s": 1, "retry_max_s": 2},
                "destination": [
                    {"name": "pacs", "port": pacs.port, **address},
                    {"name": "dead", "port": dead, **address},
                ],
            }
        )
        with Stack(settings, tmp_path / "servers", ephemeral=True, roles=("delivery",)) as stack:
            made = Sending(stack, pacs)
            yield made
            made.results.engine.dispose()


@pytest.mark.parametrize("place", [1, 3])
def test_a_worker_killed_after_any_object_leaves_exactly_one_of_each(sending: Sending, place: int) -> None:
    stored: list[str] = []
    killed = threading.Event()
    usual = sending.pacs._store

    def kills(event: evt.Event) -> Any:
        answer = usual(event)
        stored.append("")
        if len(stored) == place:
            sending.kill()
            killed.set()
        return answer

    ae = AE("PACS")
    ae.add_supported_context(SECONDARY_CAPTURE)
    sending.pacs.stop()
    server = ae.start_server(
        ("127.0.0.1", sending.pacs.port), block=False, evt_handlers=[(evt.EVT_C_STORE, kills)]
    )
    assert server is not None
    try:
        sending.results.results(1, 2, 3)
        sending.ring("pacs")
        assert killed.wait(120)
        assert sending.states("pacs") == ["stored"] * (place - 1) + ["sending"] + ["waiting"] * (3 - place)
        sending.expire_lease()
        sending.stack.start("delivery")
        sending.ring("pacs")
        sending.wait_for("pacs", ["stored"] * 3)
    finally:
        ae.shutdown()
    assert list(sending.pacs.received()) == ["2.25.1", "2.25.2", "2.25.3"]
    assert sending.pacs.stores == 4  # the one whose answer nobody heard came twice


def test_a_destination_pauses_for_little_more_than_a_lease_when_its_worker_is_killed(
    sending: Sending, record_property: Callable[[str, object], None]
) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def holds(_: evt.Event) -> int:
        if not arrived.is_set():
            arrived.set()
            go_on.wait(120)
        return 0x0000

    sending.pacs.stop()
    ae = AE("PACS")
    ae.add_supported_context(SECONDARY_CAPTURE)
    server = ae.start_server(
        ("127.0.0.1", sending.pacs.port), block=False, evt_handlers=[(evt.EVT_C_STORE, holds)]
    )
    assert server is not None
    settings = sending.stack.settings
    app = celery_app(settings)
    try:
        sending.results.results(1, 2)
        sending.ring("pacs")
        assert arrived.wait(120)
        sending.kill()
        killed_s = time.monotonic()
        go_on.set()
        sending.stack.start("delivery")

        def swept() -> bool:
            sweep(sending.results.engine, app, settings)
            return sending.states("pacs") == ["stored"] * 2

        sending.site.wait("the next worker goes on", swept)
        pause_s = time.monotonic() - killed_s
    finally:
        ae.shutdown()
    record_property("pause_s", round(pause_s, 1))
    print(f"a destination paused for {pause_s:.1f} s, the lease is {LEASE_S:g} s")
    assert pause_s < LEASE_S + 15


def test_two_studies_reach_one_destination_while_the_other_is_dead(sending: Sending) -> None:
    to = ("dead", "pacs")
    sending.results.results(1, 2, study="1.2.3", to=to)
    sending.results.results(3, 4, study="1.2.4", to=to)
    sending.ring("dead", "pacs")
    sending.wait_for("pacs", ["stored"] * 4)
    assert set(sending.pacs.received()) == {"2.25.1", "2.25.2", "2.25.3", "2.25.4"}
    sentence = "does not answer"
    sending.site.wait(
        "the dead one is told",
        lambda: all(sentence in status for _, _, status in sending.results.states("dead")),
        60,
    )
    assert sending.pacs.stores == 4
