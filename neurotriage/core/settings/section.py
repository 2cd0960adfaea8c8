"""What every part of the configuration has in common."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are errors."""

    # Built when it is first used: `--help` needs none.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class TlsSettings(Section):
    """PEM files: our certificate with its key, and who signed the peer's (by default the system's CAs)."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
