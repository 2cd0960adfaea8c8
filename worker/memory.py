"""The bound on an analysis process's memory, held by the system."""

import resource
from typing import Final

_MB: Final = 1 << 20


def limit_memory(memory_mb: int) -> None:
    """Limit the process's private memory; 0 sets no limit.

    Writable memory is limited (RLIMIT_DATA); mapped files and libraries are not: torch maps gigabytes that it
    never touches, so a limit on the address space would mean little. Beyond it an allocation raises
    ``MemoryError`` (torch: ``RuntimeError``) here, where the light model can take over, before the host kills
    a process of its own choice.
    """
    if memory_mb:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = memory_mb * _MB
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
