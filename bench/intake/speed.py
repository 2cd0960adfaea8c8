"""Instances per second from DCMTK senders, over 1 and 4 associations, with several receivers in turn."""

import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

from bench.peers.drawn import SHARES, DrawnStudy
from bench.peers.processes import cpu_s
from bench.peers.receivers import Product, Receiver, orthanc, storescp, storescu

ASSOCIATIONS: Final = (1, SHARES)


Rates = dict[int, list[float]]  # by associations, a value for each round


def _rates() -> Rates:
    return {number: [] for number in ASSOCIATIONS}


@dataclass(frozen=True, slots=True)
class Speeds:
    """What was measured in rounds: instances per second by receiver, and more of ours."""

    per_s: defaultdict[str, Rates] = field(default_factory=lambda: defaultdict(_rates))
    recorded_per_s: Rates = field(default_factory=_rates)  # until the last row
    cpu_ms_per_image: Rates = field(default_factory=_rates)  # all processes of the listener, until then

    def images_per_s(self, receiver: str) -> dict[int, float]:
        """Median by associations."""
        return {number: median(rates) for number, rates in self.per_s[receiver].items()}

    def ratio_to(self, other: str, receiver: str = "neurotriage") -> dict[int, float]:
        """Ratio of the medians, by associations."""
        ours, theirs = self.images_per_s(receiver), self.images_per_s(other)
        return {number: ours[number] / theirs[number] for number in ours}


def measure(ours: Product, folder: Path, study: DrawnStudy, rounds: int) -> Speeds:
    """Interleaved rounds, after one that warms up. Each study sent is new to its receiver.

    Raises ``RuntimeError`` where a receiver does not have what it acknowledged, or an analysis ran beside.
    """
    os.sync()  # the drawn study is not to be written while receivers write
    speeds = Speeds()
    with ExitStack() as others:
        receivers = [
            ours.receiver,
            others.enter_context(orthanc(folder / "orthanc")),
            others.enter_context(storescp(folder / "storescp")),
            others.enter_context(storescp(folder / "nothing", keeping=False)),
        ]
        runs = count()
        for number in range(rounds + 1):
            kept = speeds if number else Speeds()
            for associations in ASSOCIATIONS:
                for receiver in _turned(receivers, number):
                    study.renew(next(runs))
                    if receiver.name == ours.receiver.name:
                        _measure_ours(ours, study, associations, kept)
                    else:
                        rate = study.count / _taken_s(receiver, study, associations)
                        kept.per_s[receiver.name][associations].append(rate)
    if ours.scalar("select count(*) from revisions"):
        raise RuntimeError("a study was complete, so its analysis took processor time of our turns alone")
    return speeds


def _measure_ours(ours: Product, study: DrawnStudy, associations: int, speeds: Speeds) -> None:
    """Beside its own ingester, which must have finished before another receiver's turn comes."""
    used_s, wanted = cpu_s(ours.listener), ours.recorded() + study.count
    taken_s = _taken_s(replace(ours.receiver, stored=None), study, associations)
    after_s = ours.seconds_until(lambda: ours.recorded() >= wanted)
    used_s = cpu_s(ours.listener) - used_s
    speeds.per_s[ours.receiver.name][associations].append(study.count / taken_s)
    speeds.recorded_per_s[associations].append(study.count / (taken_s + after_s))
    speeds.cpu_ms_per_image[associations].append(1000 * used_s / study.count)


def _turned(receivers: Sequence[Receiver], by: int) -> Sequence[Receiver]:
    """Another one begins in each round."""
    first = by % len(receivers)
    return [*receivers[first:], *receivers[:first]]


def _taken_s(receiver: Receiver, study: DrawnStudy, associations: int) -> float:
    """Raises ``RuntimeError`` where the receiver does not have what it acknowledged."""
    before = receiver.stored() if receiver.stored else 0
    seconds = storescu(receiver, study.shares(associations))
    if receiver.stored and receiver.stored() - before != study.count:
        raise RuntimeError(f"{receiver.name} has {receiver.stored() - before} of {study.count} instances")
    receiver.forget()
    return seconds
