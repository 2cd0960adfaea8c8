"""How a site runs the services, and what it is told of them: units, manifests, and what they are made of."""

from pathlib import Path
from typing import Final

SYSTEMD: Final = Path(__file__).parent / "systemd"

__all__ = ["SYSTEMD"]
