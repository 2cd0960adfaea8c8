"""What the listener costs: idle associations, memory for large objects, and how fast it catches up."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.figures import Figure
from bench.peers.drawn import SHARES, DrawnStudy
from bench.peers.elements import element, header
from bench.peers.processes import cpu_s, peak_bytes
from bench.peers.raw import MULTI_FRAME, RawPeer
from bench.peers.receivers import PATIENCE_S, Product, storescu

IDLE_ASSOCIATIONS: Final = 32
IDLE_S: Final = 10.0
SENDERS_AT_ONCE: Final = 8
OBJECT_BYTES: Final = 250 * 10**6
LARGE_OBJECT_BYTES: Final = 4 * 10**9  # a value of definite length ends below 2**32 - 2
CATCH_UP_IMAGES: Final = 10_000
SMALL_PX: Final = 64
MIB: Final = 1 << 20

_CHUNK: Final = bytes(MIB)
_SIDE_PX: Final = 512
_SLOWEST_S: Final = 0.1  # for an image that waits to be recorded; slower is not waited for


def idle(ours: Product) -> list[Figure]:
    """The share of a core that open associations cost which nobody uses."""
    without = _core_percent(ours)
    with ExitStack() as peers:
        for _ in range(IDLE_ASSOCIATIONS):
            peer = peers.enter_context(RawPeer(ours.port))
            if not peer.associate("IDLE"):
                raise RuntimeError("an idle association was not accepted")
        held = _core_percent(ours)
    return [
        Figure("no association: share of a core", without, "%", 5),
        Figure(f"{IDLE_ASSOCIATIONS} idle associations: share of a core", held, "%", 5),
    ]


def memory(ours: Product, object_bytes: int = OBJECT_BYTES) -> list[Figure]:
    """The listener's memory while several associations send a large object each."""
    with peak_bytes(ours.listener) as peak, ThreadPoolExecutor(SENDERS_AT_ONCE) as senders:
        sent = list(
            senders.map(lambda number: _send_object(ours, number, object_bytes), range(SENDERS_AT_ONCE))
        )
        ours.seconds_until(lambda: ours.spooled() == 0)
    what = f"{SENDERS_AT_ONCE} objects of {object_bytes / 1e6:.0f} MB at once"
    return [
        Figure(f"{what}: memory of all processes", peak() / MIB, "MiB", 200),
        Figure(f"{what}: not acknowledged", SENDERS_AT_ONCE - sent.count(0), "objects", 0),
    ]


def large_object(ours: Product, object_bytes: int = LARGE_OBJECT_BYTES) -> list[Figure]:
    """The listener's memory while one object comes that is nearly as large as a value can be."""
    with peak_bytes(ours.listener) as peak:
        status = _send_object(ours, 99, object_bytes)
        ours.seconds_until(lambda: ours.spooled() == 0)
    what = f"an object of {object_bytes / 1e9:.1f} GB"
    return [
        Figure(f"{what}: memory of all processes", peak() / MIB, "MiB", 128),
        Figure(f"{what}: not acknowledged", int(status != 0), "objects", 0),
    ]


def catch_up(ours: Product, folder: Path, images: int = CATCH_UP_IMAGES) -> list[Figure]:
    """Small images sent while Postgres is away: from its return to the last row."""
    study = DrawnStudy.draw(folder, images, SMALL_PX)
    wanted = ours.recorded() + images
    ours.stack.postgres.stop()
    storescu(ours.receiver, study.shares(SHARES))
    waiting = ours.spooled()
    begun = time.monotonic()
    ours.stack.postgres.start_again()
    ours.engine.dispose()
    ours.seconds_until(lambda: ours.recorded() >= wanted, PATIENCE_S + images * _SLOWEST_S)
    seconds = time.monotonic() - begun
    return [
        Figure(f"{images:,} images that waited in the spool: until recorded", seconds, "s", 60),
        Figure("not in the spool before Postgres came back", images - waiting, "images", 0),
    ]


def _core_percent(ours: Product) -> float:
    time.sleep(1)  # what came before has ended
    used_s, begun = cpu_s(ours.listener), time.monotonic()
    time.sleep(IDLE_S)
    return 100 * (cpu_s(ours.listener) - used_s) / (time.monotonic() - begun)


def _send_object(ours: Product, number: int, size_bytes: int) -> int | None:
    """The status of a C-STORE; None where the listener gave up the association."""
    uid = f"2.25.8{number:03d}"
    with RawPeer(ours.port) as peer:
        try:
            if not peer.associate(f"LARGE{number}"):
                return None
            return peer.store(MULTI_FRAME, uid, _multi_frame(uid, size_bytes))
        except OSError:  # it closed the connection while we sent
            return None


def _multi_frame(uid: str, size_bytes: int) -> Iterator[bytes]:
    """A capture of black frames in Explicit VR Little Endian, chunk by chunk, of about ``size_bytes``."""
    frames = size_bytes // (2 * _SIDE_PX**2)
    for tag, vr, value in (
        (0x0008_0016, b"UI", MULTI_FRAME),
        (0x0008_0018, b"UI", uid),
        (0x0008_0060, b"CS", "OT"),
        (0x0010_0020, b"LO", "BENCH"),
        (0x0020_000D, b"UI", f"{uid}.1"),
        (0x0020_000E, b"UI", f"{uid}.2"),
        (0x0028_0002, b"US", 1),
        (0x0028_0004, b"CS", "MONOCHROME2"),
        (0x0028_0008, b"IS", str(frames)),
        (0x0028_0010, b"US", _SIDE_PX),
        (0x0028_0011, b"US", _SIDE_PX),
        (0x0028_0100, b"US", 16),
        (0x0028_0101, b"US", 16),
        (0x0028_0102, b"US", 15),
        (0x0028_0103, b"US", 0),
    ):
        yield element(tag, vr, value)
    rest = frames * 2 * _SIDE_PX**2
    yield header(0x7FE0_0010, b"OW", rest)
    while rest > 0:
        yield _CHUNK[:rest]
        rest -= len(_CHUNK)
