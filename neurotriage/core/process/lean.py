"""Processes without the libraries that their imports load and they never call, as pydicom does with numpy.

``python -m neurotriage.core.process.lean MODULE`` runs a module so. Each takes 4 to 15 MB of every process.
"""

import sys
from collections.abc import Iterable
from typing import Final

# Whoever imports them as an option goes on without.
NEVER_CALLED: Final = (
    *("numpy", "PIL"),  # of pydicom, for pixels
    *("requests", "tqdm"),  # of pydicom, for test files from the network
    "rich",  # of structlog, for tracebacks in a terminal
    "yaml",  # of kombu, for messages that nobody sends us
)


def leave_out(names: Iterable[str]) -> None:
    """Have later imports of these libraries fail with ``ImportError``, where they are not loaded already."""
    for name in names:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type] # importlib's way to say that


def command(module: str) -> list[str]:
    """The command line of a process that runs a module so."""
    return [sys.executable, "-m", __name__, module]


if __name__ == "__main__":
    import runpy

    leave_out(NEVER_CALLED)
    runpy.run_module(sys.argv[1], run_name="__main__")
