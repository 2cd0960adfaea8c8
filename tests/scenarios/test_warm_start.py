"""A worker's first study takes no longer than its later ones, and its threads wait without spinning."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import pytest
from sqlalchemy import text

from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.studies import head_ct
from neurotriage.doctor.check import State
from neurotriage.doctor.queue import look_at_queue
from tests.scenarios.conftest import Site, opened

pytestmark = pytest.mark.scenario

MAX_RATIO = 1.5
LATER = 3
STARTS = 3  # the machine may be busy with something else at one of them
BATCHES = 5


def seconds_of_studies(site: Site, count: int) -> list[float]:
    """How long a worker held each of so many studies, in the order in which it took them."""
    for number in range(count):
        site.send(head_ct())
        site.wait("the study's analysis", partial(analysed, site, number + 1))
    return held_s(site)


def analysed(site: Site, count: int) -> bool:
    return len(held_s(site)) == count


def held_s(site: Site) -> list[float]:
    statement = (
        "select extract(epoch from r.ended_at - e.at) from revisions r join events e on e.revision_id = r.id"
        " where e.kind = 'analysing' and r.ended_at is not null order by r.id"
    )
    with site.engine.connect() as connection:
        return [float(row[0]) for row in connection.execute(text(statement))]


def test_the_first_study_after_a_start_takes_no_longer_than_a_later_one(tmp_path: Path) -> None:
    """A worker takes work once it is warm; ``doctor`` says so."""
    ratios: list[float] = []
    while not ratios or (min(ratios) > MAX_RATIO and len(ratios) < STARTS):
        folder = tmp_path / str(len(ratios))
        with StandInPacs(folder / "pacs", ae_title="PACS") as pacs, opened(folder, pacs) as site:
            first, *later = seconds_of_studies(site, 1 + LATER)
            assert site.logged("analysis", '"event": "warm"') == 1
            ratios.append(first / median(later))
            checks = {check.subject: check for check in look_at_queue(site.stack.settings)}
        assert checks["analysis worker"].state is State.OK
        assert "warm" in checks["analysis worker"].said
    assert min(ratios) <= MAX_RATIO, ratios


# Answers each line of its input with the seconds that one batch took.
BATCH = """
import sys, time
from neurotriage.core.process.threads import calm_threads
if sys.argv[1] == "calm":
    calm_threads()
import torch
from worker.vision import load_models
from neurotriage.core.settings import Settings

model = load_models(Settings().worker.weights).of("MR")
slices = torch.zeros((4, 1, model.card.input_px, model.card.input_px))
with torch.inference_mode():
    model.engine(slices)
    for _ in sys.stdin:
        begun = time.perf_counter()
        model.engine(slices)
        print(time.perf_counter() - begun, flush=True)
"""


class Batches:
    """A process that runs a batch when asked."""

    def __init__(self, how: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", BATCH, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.seconds: list[float] = []

    def run(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.seconds.append(float(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def busy_process() -> Iterator[None]:
    """Another program that has a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: there are no threads to wait")
def test_threads_that_sleep_lose_less_beside_a_busy_process() -> None:
    """In turns, so that both meet the same machine."""
    with ExitStack() as stack:
        calm, spinning = Batches("calm"), Batches("spinning")
        stack.callback(calm.close)
        stack.callback(spinning.close)
        calm.run()
        spinning.run()  # both are loaded now
        calm.seconds.clear()
        spinning.seconds.clear()
        with busy_process():
            for _ in range(BATCHES):
                calm.run()
                spinning.run()
    told = {"calm_s": median(calm.seconds), "spinning_s": median(spinning.seconds)}
    print(json.dumps(told))
    # Measured alone on two cores: a third. On a machine that is full anyway the difference shrinks.
    assert told["calm_s"] < told["spinning_s"], told
