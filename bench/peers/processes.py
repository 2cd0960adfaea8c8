"""What processes use, by the system's books: /proc of Linux (proc(5))."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_SAMPLE_S: Final = 0.05
# Fields of /proc/PID/stat, counted from the one after the command's name.
_PARENT: Final = 1
_CPU: Final = slice(11, 15)  # utime, stime, and both of children that were waited for


@dataclass(frozen=True, slots=True)
class Usage:
    """What a family of processes holds; memory that they share counts once (PSS)."""

    descriptors: int
    threads: int
    memory_bytes: int

    @classmethod
    def of(cls, root: int) -> Self:
        """What ``root`` and all its descendants hold now."""
        pids = family(root)
        return cls(
            sum(_entries(pid, "fd") for pid in pids),
            sum(_entries(pid, "task") for pid in pids),
            sum(map(_pss_bytes, pids)),
        )


def family(root: int) -> list[int]:
    """The process and its descendants; empty where it has ended."""
    children: dict[int, list[int]] = {}
    for path in _PROC.iterdir():
        if path.name.isdigit() and (fields := _stat(int(path.name))):
            children.setdefault(int(fields[_PARENT]), []).append(int(path.name))
    found = [root] if _stat(root) else []
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """CPU seconds that the process and its descendants have used, those that have ended included."""
    return sum(sum(map(int, _stat(pid)[_CPU])) for pid in family(root)) / _TICKS_PER_S


@contextmanager
def peak_bytes(root: int) -> Iterator[Callable[[], int]]:
    """Sample the memory of a process and its descendants; the function gives the highest sum so far."""
    highest = Usage.of(root).memory_bytes
    stop = threading.Event()

    def sample() -> None:
        nonlocal highest
        while not stop.wait(_SAMPLE_S):
            highest = max(highest, Usage.of(root).memory_bytes)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: highest
    finally:
        stop.set()
        thread.join()


def _stat(pid: int) -> list[str]:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended meanwhile
        return []


def _entries(pid: int, folder: str) -> int:
    try:
        return sum(1 for _ in (_PROC / str(pid) / folder).iterdir())
    except OSError:
        return 0


def _pss_bytes(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
