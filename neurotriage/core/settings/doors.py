"""Other ways in than the DICOM listener: studies that are pulled, STOW-RS, and messages about patients."""

import re
from datetime import time
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator

from neurotriage.core.settings.section import Section, ServerTls

_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class PullSettings(Section):
    """``[pull]``: how fast, and when, ``neurotriage pull`` fetches studies from an archive."""

    hours: str = Field(
        "", description='local time in which studies are pulled ("19:00-06:00"); empty: always'
    )
    studies_per_hour: float = Field(0.0, ge=0, description="at most; 0 sets no bound")
    images_per_s: float = Field(0.0, ge=0, description="at most, on average over each study; 0 sets no bound")
    retries: int = Field(
        3, ge=0, le=20, description="tries after the first where the archive does not answer"
    )
    retry_s: float = Field(30.0, gt=0, description="delay before the second try; doubles with each")
    study_timeout_s: float = Field(3600.0, gt=0, description="a study that takes longer has failed")

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, value: str) -> str:
        match = _HOURS.fullmatch(value)
        if value and (match is None or match.group(1, 2) == match.group(3, 4)):
            raise ValueError(f"{value!r} is no window of the day such as 19:00-06:00")
        return value

    @property
    def window(self) -> tuple[time, time] | None:
        """Begin and end of the hours, local time; the end may lie on the next day. None: always."""
        match = _HOURS.fullmatch(self.hours)
        if match is None:
            return None
        hours = [int(part) for part in match.groups()]
        return time(hours[0], hours[1]), time(hours[2], hours[3])


class StowSettings(Section):
    """``[stow]``: studies by STOW-RS (PS3.18 10.5); the service runs where the table is there."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8042, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    unencrypted: bool = Field(
        False, description="take studies through a network without TLS; a proxy in front may encrypt"
    )
    tls: ServerTls | None = Field(
        None, description="encrypt; with ca, a client needs a certificate that it signed"
    )
    max_requests: int = Field(16, ge=1, description="requests served at once")
    max_requests_per_peer: int = Field(4, ge=1, description="of them from one peer")
    max_request_bytes: int = Field(16 * 1024**3, ge=1, description="of one request")
    max_part_bytes: int = Field(4 * 1024**3, ge=1, description="of one instance")
    max_parts: int = Field(10_000, ge=1, description="instances in one request")
    min_bytes_per_s: int = Field(
        10_000, ge=1, description="a request that comes slower, after 30 s, is ended"
    )
    request_timeout_s: float = Field(3600.0, gt=0, description="a request that takes longer is ended")


class IdentitySettings(Section):
    """``[identity]``: how we learn that images are another patient's."""

    hl7_folder: Path | None = Field(
        None, description="folder whose files are HL7 messages ADT^A40 that merge patients; default: none"
    )
