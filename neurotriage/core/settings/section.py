"""What every part of the configuration has in common."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsSettings(Section):
    """PEM files: our certificate with its key, and who signed the peer's (by default the system's CAs)."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
