"""What every part of the configuration has in common."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are errors."""

    # Built when it is first used: `--help` needs none.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class TlsSettings(Section):
    """PEM files: our certificate with its key, and who signed the peer's (by default the system's CAs)."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None


class ServerTls(Section):
    """TLS of a port (PS3.15 B.12): PEM files, read again when they change."""

    certificate: Path = Field(description="our certificate, followed by those between it and its root")
    key: Path = Field(description="its private key")
    key_password_file: Path | None = Field(None, description="file with the password of the key")
    ca: Path | None = Field(None, description="certificates of who signs our peers'; no other is believed")

    @property
    def requires_certificates(self) -> bool:
        """Whether a peer is served only with a certificate that ``ca`` signed."""
        return self.ca is not None
