"""Hundreds of connections that use the listener badly, in a process of their own, until they are told to go.

Each is opened again a while after the listener has closed it. A few come from the address of a listed
peer with its right title, most from addresses that are not listed.
"""

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.connection import Connection
from typing import Final

from bench.peers.elements import header
from bench.peers.raw import ACCEPTED, CT_IMAGE, associate_rq, fragment, store_rq
from neurotriage.embedded.process import LOOPBACK

NEIGHBOUR: Final = "NEIGHBOUR"
NEIGHBOUR_HOST: Final = "127.0.0.2"
_STRANGERS: Final = [f"127.0.0.{number}" for number in range(3, 43)]
_LISTED_OF_FIVE: Final = (NEIGHBOUR_HOST, None, None, None, None)
_RETRY_S: Final = 5.0
_ARRIVAL_S: Final = 2.0
_OPEN_S: Final = 10.0
_SLOW_BYTES: Final = 100
_BYTE_EVERY_S: Final = 1.0
_READY_S: Final = 60.0
_PDU_HEADER_BYTES: Final = 6
# A TLS record that begins a handshake and goes no further.
_HALF_HELLO: Final = b"\x16\x03\x01\x02\x00"

_Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many connections of each kind: silent or idle, slow data sets, a byte a second, silent in TLS."""

    idle: int = 500
    slow: int = 200
    dribbling: int = 100
    silent_tls: int = 32


@dataclass(slots=True)
class Attendance:
    """What the crowd has seen of the listener."""

    opened: int = 0
    held: int = 0
    most_held: int = 0


@contextmanager
def crowd(port: int, sizes: Sizes, tls_port: int) -> Iterator[Callable[[], Attendance]]:
    """The crowd has arrived within; the function sends it away and says how it went.

    ``tls_port``: the port of the listener that speaks TLS.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_come, args=(port, sizes, tls_port, there), daemon=True)
    process.start()

    def go() -> Attendance:
        here.send("go")
        if not here.poll(_READY_S):
            raise TimeoutError("the crowd does not go")
        attendance: Attendance = here.recv()
        process.kill()  # the system closes all connections
        return attendance

    try:
        if not here.poll(_READY_S):
            raise TimeoutError("the crowd did not arrive")
        here.recv()
        yield go
    finally:
        process.kill()
        process.join()


def _come(port: int, sizes: Sizes, tls_port: int, parent: Connection) -> None:
    asyncio.run(_stay(port, sizes, tls_port, parent))


async def _stay(port: int, sizes: Sizes, tls_port: int, parent: Connection) -> None:
    kinds: list[tuple[_Behaviour, int, int]] = [
        (_silent, sizes.idle // 2, port),
        (_idle, sizes.idle - sizes.idle // 2, port),
        (_slow, sizes.slow, port),
        (_dribbling, sizes.dribbling, port),
        (_silent_in_tls, sizes.silent_tls, tls_port),
    ]
    attendance, listed, strangers = Attendance(), cycle(_LISTED_OF_FIVE), cycle(_STRANGERS)
    members = [
        _member(behaviour, next(listed) or next(strangers), where, attendance)
        for behaviour, count, where in kinds
        for _ in range(count)
    ]
    tasks = [asyncio.create_task(member) for member in members]
    await asyncio.sleep(_ARRIVAL_S)  # each has come once
    parent.send("here")
    await asyncio.to_thread(parent.recv)
    parent.send(attendance)
    await asyncio.gather(*tasks)  # until the parent ends this process


async def _member(behaviour: _Behaviour, source: str, port: int, attendance: Attendance) -> None:
    while True:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_OPEN_S):
                reader, writer = await asyncio.open_connection(LOOPBACK, port, local_addr=(source, 0))
            attendance.opened += 1
            attendance.held += 1
            attendance.most_held = max(attendance.most_held, attendance.held)
            try:
                await behaviour(reader, writer)
            finally:
                attendance.held -= 1
                writer.close()
        await asyncio.sleep(_RETRY_S)


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_request())
    await reader.read()


async def _slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A data set that comes so slowly that it would take hours."""
    writer.write(_request())
    answer = await reader.readexactly(_PDU_HEADER_BYTES)
    if answer[0] != ACCEPTED:
        return
    writer.write(store_rq(CT_IMAGE, "2.25.666"))
    writer.write(fragment(3, header(0x7FE0_0010, b"OW", 1 << 20), last=False))
    while not reader.at_eof():
        writer.write(fragment(3, bytes(_SLOW_BYTES), last=False))
        await _pause(reader, writer)


async def _dribbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in _request():
        writer.write(bytes((byte,)))
        await _pause(reader, writer)
    await reader.read()


async def _silent_in_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_HALF_HELLO)
    await reader.read()


async def _pause(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A second, or less where the listener closes the connection: then ``ConnectionError`` is raised."""
    await writer.drain()
    with suppress(TimeoutError):
        async with asyncio.timeout(_BYTE_EVERY_S):
            if not await reader.read(1 << 12):
                raise ConnectionAbortedError


def _request() -> bytes:
    return associate_rq(NEIGHBOUR, "NEUROTRIAGE")
