"""Messages and data sets with random changes: the listener ends each one, and loses none that it took.

The verdict comes from the answers on the socket, the files of the spool and the rows of the database.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from bench.figures import Figure
from bench.hostile.mutate import mutated
from bench.peers.elements import element
from bench.peers.raw import (
    C_STORE_RSP,
    CT_IMAGE,
    RELEASE_RQ,
    RawPeer,
    associate_rq,
    command_of,
    data_set,
    echo_rq,
    pdu,
    status_of,
    store_rq,
)
from bench.peers.receivers import Product, product

CALLING: Final = "MUTANT"
HANG_S: Final = 10.0
_SLACK_S: Final = 2.0  # deadlines of the listener may be as long as that limit
_AT_ONCE: Final = 8
_ANSWER_S: Final = 0.5  # after it the next turn is sent in any case
_RECORD_S: Final = 120.0
_RELEASE_RP: Final = 0x06
_SIDE_PX: Final = 8
_COMMAND_FIELD: Final = 0x0100


class End(Enum):
    """How the listener ended a connection or a message."""

    DONE = "done"
    REFUSED = "refused"
    HUNG = "hung"


@dataclass(frozen=True, slots=True)
class Tried:
    """The end of one try, and how many C-STOREs of it were answered 0x0000."""

    end: End
    acknowledged: int


def mutations(folder: Path, count: int, seed: int) -> list[Figure]:
    """``count`` dialogues with a changed PDU, then as many changed data sets, all from ``seed``."""
    with product(folder, roles=("listen",), durable=False) as ours:
        return [
            *_tried(ours, "PDUs", _try_pdu, count, seed),
            *_tried(ours, "data sets", _try_data_set, count, seed),
        ]


def _tried(
    ours: Product, what: str, attempt: Callable[[int, int], Tried], count: int, seed: int
) -> list[Figure]:
    first, before = ours.listener, ours.traces()
    cases = [seed * 1_000_000 + number for number in range(count)]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        tries = list(threads.map(lambda case: attempt(ours.port, case), cases))
    ends = Counter(tried.end.value for tried in tries)
    acknowledged = sum(tried.acknowledged for tried in tries)
    waiting = _spooled_after(ours)
    lost = max(0, acknowledged - (ours.traces() - before) - waiting)
    aside = ours.scalar("select count(*) from quarantined")
    print(f"{count} mutated {what}: {dict(ends)}; acknowledged {acknowledged}, in quarantine {aside}")
    return [
        Figure(f"mutated {what}: not ended within {HANG_S:g} s", ends[End.HUNG.value], "", 0),
        Figure(f"mutated {what}: acknowledged and without a row", lost, "", 0),
        Figure(f"mutated {what}: left in the spool", waiting, "files", 0),
        Figure(f"mutated {what}: listeners that ended", int(not _lives(ours, first)), "", 0),
    ]


def _spooled_after(ours: Product) -> int:
    """Files that still have no row after a generous time."""
    try:
        ours.seconds_until(lambda: ours.spooled() == 0, _RECORD_S)
    except TimeoutError:
        return ours.spooled()
    return 0


def _lives(ours: Product, first: int) -> bool:
    """Whether the same process still answers an echo."""
    if ours.stack.dead() or ours.listener != first:
        return False
    try:
        with RawPeer(ours.port) as peer:
            return peer.associate(CALLING) and peer.echo() == 0
    except OSError:
        return False


def _try_pdu(port: int, case: int) -> Tried:
    """A dialogue, one PDU of which was changed; the connection's sending half is closed behind it."""
    chance = random.Random(case)
    turns = [list(turn) for turn in chance.choice((_echo_turns, _store_turns))(case)]
    turn, number = chance.choice([(turn, number) for turn in turns for number in range(len(turn))])
    turn[number] = mutated(turn[number], chance)
    begun = time.monotonic()
    try:
        with RawPeer(port) as peer:
            answers = _answers(peer, turns)
    except TimeoutError:
        return Tried(End.HUNG, 0)
    except OSError:  # it closed while we were sending
        return Tried(End.REFUSED, 0)
    end = End.HUNG if time.monotonic() - begun > HANG_S + _SLACK_S else _end(answers)
    return Tried(end, sum(map(_acknowledges, answers)))


def _answers(peer: RawPeer, turns: Sequence[Sequence[bytes]]) -> list[bytes]:
    """All PDUs that the listener sends until it closes the connection.

    Raises ``TimeoutError`` where it has not done that within ``HANG_S`` of the end of our side.
    """
    answers = []
    for turn in turns:
        try:
            peer.connection.sendall(b"".join(turn))
            peer.connection.settimeout(_ANSWER_S)
            answers.append(peer.read_pdu())
        except TimeoutError:
            pass  # it waits for more
        except OSError:
            break
        finally:
            peer.connection.settimeout(HANG_S + _SLACK_S)
    peer.close_sending()
    try:
        while answer := peer.read_pdu():
            answers.append(answer)
    except ConnectionError:
        pass  # a reset ends it as well
    return answers


def _end(answers: Sequence[bytes]) -> End:
    if any(answer[:1] == bytes((_RELEASE_RP,)) for answer in answers):
        return End.DONE
    return End.REFUSED


def _acknowledges(answer: bytes) -> bool:
    field = int.from_bytes(command_of(answer).get(_COMMAND_FIELD, b""), "little")
    return field == C_STORE_RSP and status_of(answer) == 0


def _echo_turns(_: int) -> Iterable[Iterable[bytes]]:
    """The PDUs of each turn, after which the listener answers."""
    yield [associate_rq(CALLING, "NEUROTRIAGE")]
    yield [echo_rq()]
    yield [pdu(RELEASE_RQ, bytes(4))]


def _store_turns(case: int) -> Iterable[Iterable[bytes]]:
    uid = f"2.25.4{case:012d}"
    yield [associate_rq(CALLING, "NEUROTRIAGE")]
    yield [store_rq(CT_IMAGE, uid), *data_set(CT_IMAGE, [image(uid)], 256)]
    yield [pdu(RELEASE_RQ, bytes(4))]


def _try_data_set(port: int, case: int) -> Tried:
    """A changed data set in sound messages: taken as it is, or refused by a status."""
    uid = f"2.25.5{case:012d}"
    begun = time.monotonic()
    try:
        with RawPeer(port) as peer:
            peer.connection.settimeout(HANG_S + _SLACK_S)
            if not peer.associate(CALLING):
                return Tried(End.REFUSED, 0)
            status = peer.store(CT_IMAGE, uid, [mutated(image(uid), random.Random(case)) or b"\0"])
            peer.release()
    except TimeoutError:
        return Tried(End.HUNG, 0)
    except OSError:
        return Tried(End.REFUSED, 0)
    if time.monotonic() - begun > HANG_S + _SLACK_S:
        return Tried(End.HUNG, int(status == 0))
    return Tried(End.DONE if status == 0 else End.REFUSED, int(status == 0))


def image(uid: str) -> bytes:
    """A small CT image, with a sequence of both kinds of length and a private element."""
    item = (
        b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        + element(0x0008_0100, b"SH", "T-A0100")
        + b"\xfe\xff\x0d\xe0"
        + bytes(4)
    )
    return b"".join(
        element(tag, vr, value)
        for tag, vr, value in (
            (0x0008_0005, b"CS", "ISO_IR 100"),
            (0x0008_0008, b"CS", "ORIGINAL\\PRIMARY\\AXIAL"),
            (0x0008_0016, b"UI", CT_IMAGE),
            (0x0008_0018, b"UI", uid),
            (0x0008_0020, b"DA", "20240102"),
            (0x0008_0060, b"CS", "CT"),
            (0x0008_2218, b"SQ", item),
            (0x0009_0010, b"LO", "BENCH"),
            (0x0009_1001, b"UN", b"\x00\x01\x02\x03"),
            (0x0010_0010, b"PN", "Made^Up"),
            (0x0010_0020, b"LO", "MUTANT"),
            (0x0020_000D, b"UI", "2.25.41"),
            (0x0020_000E, b"UI", "2.25.42"),
            (0x0020_0013, b"IS", "1"),
            (0x0020_0032, b"DS", "0\\0\\0"),
            (0x0020_0037, b"DS", "1\\0\\0\\0\\1\\0"),
            (0x0028_0002, b"US", 1),
            (0x0028_0004, b"CS", "MONOCHROME2"),
            (0x0028_0010, b"US", _SIDE_PX),
            (0x0028_0011, b"US", _SIDE_PX),
            (0x0028_0030, b"DS", "0.5\\0.5"),
            (0x0028_0100, b"US", 16),
            (0x0028_0101, b"US", 16),
            (0x0028_0102, b"US", 15),
            (0x0028_0103, b"US", 1),
            (0x0028_1052, b"DS", "-1024"),
            (0x0028_1053, b"DS", "1"),
            (0x7FE0_0010, b"OW", bytes(2 * _SIDE_PX**2)),
        )
    )
