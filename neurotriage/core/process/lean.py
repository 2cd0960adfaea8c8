"""Processes without the libraries that their imports load and they never call, as pydicom does with numpy.

``python -m neurotriage.core.process.lean MODULE`` runs a module so. Each takes 5 to 15 MB of every process.
"""

import sys
from collections.abc import Iterable
from typing import Final

# pydicom's, for pixels; whoever imports them as an option goes on without.
PIXELS: Final = ("numpy", "PIL")
# Of structlog, for tracebacks in a terminal; of kombu, for messages that nobody sends us.
_OTHERS: Final = ("rich", "yaml")


def leave_out(names: Iterable[str]) -> None:
    """Have later imports of these libraries fail with ``ImportError``, where they are not loaded already."""
    for name in names:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type] # importlib's way to say that


def command(module: str) -> list[str]:
    """The command line of a process that runs a module so."""
    return [sys.executable, "-m", __name__, module]


if __name__ == "__main__":
    import runpy

    leave_out((*PIXELS, *_OTHERS))
    runpy.run_module(sys.argv[1], run_name="__main__")
