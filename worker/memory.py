"""The bound on an analysis process's memory, held by the system."""

import resource
from typing import Final

_MB: Final = 1 << 20


def limit_memory(memory_mb: int) -> None:
    """Let the process have no more than this of memory of its own; 0 sets no bound.

    Bounded is what it may write to (RLIMIT_DATA), mapped files and libraries are not: torch maps gigabytes
    that it never touches, so that a bound on the address space would say little. Past it, an allocation
    raises ``MemoryError`` (torch: ``RuntimeError``) here, where the light model can take over, instead of
    the host's killing whatever it likes.
    """
    if memory_mb:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = memory_mb * _MB
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
