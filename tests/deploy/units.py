"""The unit files as they are shipped, read as systemd does."""

from pathlib import Path
from typing import Final

UNITS: Final = Path(__file__).parents[2] / "deploy" / "systemd"
# Where the units expect the program, as docs/admin.md installs it.
PROGRAM: Final = "/opt/neurotriage/venv/bin/neurotriage"


def values(unit: Path, key: str) -> list[str]:
    """What a unit says of a key, line by line."""
    lines = unit.read_text(encoding="utf-8").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]
