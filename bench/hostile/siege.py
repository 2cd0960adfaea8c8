"""A listed peer works while a crowd holds on to the listener; then the listener is as it was."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Figure
from bench.hostile.crowd import NEIGHBOUR, NEIGHBOUR_HOST, Sizes, crowd
from bench.peers.drawn import DrawnStudy
from bench.peers.processes import Usage
from bench.peers.raw import RawPeer
from bench.peers.receivers import Product, product, storescu
from dicom_listener.admission.certificates import TestAuthority
from neurotriage.embedded.process import LOOPBACK, free_port

WORKER: Final = "WARD"
ECHO_LIMIT_S: Final = 1.0
LOST_LIMIT_PERCENT: Final = 20.0
BACK_LIMIT_S: Final = 30.0
BASE_LIMIT_PERCENT: Final = 10.0
_ECHO_EVERY_S: Final = 0.1
_POLL_S: Final = 0.5
# The listener's pools start their threads as they are needed, and keep them.
_POOLED_THREADS: Final = 20
_REST_S: Final = 2.0

PEERS: Final = [
    {"ae_title": WORKER, "host": LOOPBACK},
    {"ae_title": NEIGHBOUR, "host": NEIGHBOUR_HOST},
]


@dataclass(frozen=True, slots=True)
class Work:
    """How the listed peer's work went."""

    images_per_s: list[float] = field(default_factory=list)
    echoes_s: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    asked: list[None] = field(default_factory=list)

    @property
    def echo_p99_s(self) -> float:
        """The time that 99 of 100 associations with an echo took at most."""
        ordered = sorted(self.echoes_s)
        return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else math.inf

    @property
    def refused_percent(self) -> float:
        return 100 * len(self.refused) / max(1, len(self.asked))


def siege(folder: Path, sizes: Sizes, *, work_s: float, images: int) -> list[Figure]:
    """What the crowd costs the listed peer and the listener, all of whose parts are warm by then.

    ``work_s``: how long the peer works among the crowd, and half of it before and after. ``images``: of each
    study that it sends.
    """
    study = DrawnStudy.draw(folder / "study", images, 256)
    tls_port = free_port()
    listener = {"port": 0, "also": [_encrypted(folder / "certificates", tls_port)]}
    with product(folder, roles=("listen",), settings={"peer": PEERS, "listener": listener}) as ours:
        calm = work(ours, study, work_s / 2)
        base = _at_rest(ours)
        with crowd(ours.port, sizes, tls_port) as go:
            besieged = work(ours, study, work_s)
            attendance = go()
        back_s = _back_s(ours, base)
        now = Usage.of(ours.listener)
        after = work(ours, study, work_s / 2)
    rate = median(calm.images_per_s + after.images_per_s)
    lost = 100 * (1 - median(besieged.images_per_s or [0.0]) / rate)
    print(
        f"calm {rate:.1f} images/s; the crowd opened {attendance.opened} connections and held"
        f" {attendance.most_held} at once; refused: {sorted(set(besieged.refused))}\n"
        f"before the crowd the listener held {base}, after it {now}"
    )
    return [
        Figure("crowd: associations of the listed peer not accepted", besieged.refused_percent, "%", 0),
        Figure(
            "crowd: C-ECHO with its association, 99 of 100 within", besieged.echo_p99_s, "s", ECHO_LIMIT_S
        ),
        Figure("crowd: throughput lost to it", lost, "%", LOST_LIMIT_PERCENT),
        Figure("crowd gone: until all is as before", back_s, "s", BACK_LIMIT_S),
        *(
            Figure(f"crowd gone: more {what} than before", more, "%", BASE_LIMIT_PERCENT)
            for what, more in _more_percent(base, now).items()
        ),
    ]


def _encrypted(folder: Path, port: int) -> dict[str, object]:
    """A port beside the plain one that speaks TLS, for those who never end their handshake."""
    authority = TestAuthority(folder, days=1)
    own = authority.pair("listener", [LOOPBACK])
    files = {"certificate": own.certificate, "key": own.key, "ca": authority.certificate}
    return {"host": LOOPBACK, "port": port, "tls": files}


def work(ours: Product, study: DrawnStudy, seconds: float) -> Work:
    """Send the study again and again, and beside it ask for an echo ten times a second."""
    done, ended = Work(), threading.Event()

    def echo() -> None:
        while not ended.wait(_ECHO_EVERY_S):
            begun = time.monotonic()
            _tried(done, lambda: _echo(ours.port))
            done.echoes_s.append(time.monotonic() - begun)

    def send() -> None:
        done.images_per_s.append(study.count / storescu(ours.receiver, study.shares(1), WORKER))

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _tried(done, send)
    ended.set()
    thread.join()
    return done


def _tried(done: Work, attempt: Callable[[], None]) -> None:
    done.asked.append(None)
    try:
        attempt()
    except (OSError, RuntimeError) as error:
        done.refused.append(str(error))


def _echo(port: int) -> None:
    with RawPeer(port) as peer:
        if not peer.associate(WORKER):
            raise RuntimeError("the association was rejected")
        if peer.echo() != 0:
            raise RuntimeError("the echo was not answered 0x0000")
        peer.release()


def _at_rest(ours: Product) -> Usage:
    """What the listener holds when all that came is recorded and all associations are gone."""
    ours.seconds_until(lambda: ours.spooled() == 0)
    time.sleep(_REST_S)
    return Usage.of(ours.listener)


def _back_s(ours: Product, base: Usage) -> float:
    """Seconds until the listener holds no more than before; it is looked at a little beyond the limit."""
    begun = time.monotonic()
    while time.monotonic() - begun <= BACK_LIMIT_S:
        more = _more_percent(base, Usage.of(ours.listener))
        if max(more.values()) <= BASE_LIMIT_PERCENT:
            break
        time.sleep(_POLL_S)
    return time.monotonic() - begun


def _more_percent(base: Usage, now: Usage) -> dict[str, float]:
    return {
        "descriptors": 100 * (now.descriptors / base.descriptors - 1),
        "threads": 100 * max(0, now.threads - base.threads - _POOLED_THREADS) / base.threads,
        "memory": 100 * (now.memory_bytes / base.memory_bytes - 1),
    }
