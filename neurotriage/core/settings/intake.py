"""What comes in: the listener, its peers, when a study is complete, and where it is stored."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from neurotriage.core.settings.section import Section, TlsSettings

# PS3.5 table 6.2-1, VR AE: default repertoire without backslash and control characters; not only spaces.
AE_TITLE: Final = re.compile(r"(?=.*[^ ])[ -\[\]-~]{1,16}")
# RFC 1123 with the underscore that containers' names have; the last label has a letter, or it would be an
# address that was mistyped.
_LABEL: Final = "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST_NAME: Final = re.compile(rf"(?!.{{254}})({_LABEL}\.)*(?![0-9-]+\.?$){_LABEL}\.?")

InstallationUid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]


class ListenerSettings(Section):
    """``[listener]``: the DICOM listener that receives studies."""

    ae_title: str = Field("NEUROTRIAGE", max_length=16, description="our AE title; also our calling AE title")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(11112, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    max_associations: int = Field(32, ge=1, description="associations served at once")
    network_timeout_s: float = Field(60.0, gt=0, description="an association idle for longer is closed")
    progress_timeout_s: float = Field(
        300.0,
        gt=0,
        description="an association that sends no data set, nor 64 kB of one, in this time is closed",
    )
    other_installations: tuple[InstallationUid, ...] = Field(
        (), description="installations whose results are recognised too: their (0008,0014)"
    )
    tls: TlsSettings | None = Field(
        None, description="reserved for encrypted intake; the listener does not start while it is set"
    )


class RequiredSeries(Section):
    """``[[assembly.required]]``: a kind of series, by what its header says; equality and part of a text."""

    modality: str = Field("", max_length=16, description="equal to (0008,0060); empty: any")
    description: str = Field(
        "", max_length=64, description="part of (0008,103E), in whatever case; empty: any"
    )


class AssemblySettings(Section):
    """``[assembly]``: when a study counts as complete."""

    quiet_s: float = Field(60.0, gt=0, description="complete when no instance came for this long")
    released_quiet_s: float = Field(
        5.0, gt=0, description="the same, where associations, geometry or a count say that nothing is missing"
    )
    force_s: float = Field(
        3600.0, gt=0, description="a study that never becomes quiet is analysed after this long"
    )
    first_looks: int = Field(
        2, ge=0, le=8, description="early revisions a study, of series that are closed; 0: none"
    )
    required: tuple[RequiredSeries, ...] = Field(
        (), description="complete when a closed series of each kind is there"
    )
    count_peer: str = Field(
        "", max_length=16, description="AE title of the [[peer]] that is asked how many instances a study has"
    )
    count_every_s: float = Field(10.0, gt=0, description="delay between two such questions about a study")
    count_timeout_s: float = Field(5.0, gt=0, le=60, description="an answer is awaited for this long")
    count_questions: int = Field(6, ge=1, description="questions about a study while it is open")


class StorageSettings(Section):
    """``[storage]``: the folder that holds received bytes and results."""

    root: Path = Field(Path("storage"), description="folder for received bytes, evidence and results")
    min_free_bytes: int = Field(2 * 1024**3, ge=0, description="below this, C-STORE answers 0xA700")


class Peer(Section):
    """``[[peer]]``: who may send."""

    ae_title: str = Field(max_length=16)
    host: str = Field(description="a name, an address or a CIDR")
    port: int | None = Field(None, ge=1, le=65535)
    count: bool = Field(False, description="it is asked how many instances the studies have that it sends")

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.count and self.port is None:
            raise ValueError("count = true needs the port at which it answers C-FIND")
        return self

    @field_validator("ae_title")
    @classmethod
    def _is_an_ae_title(cls, value: str) -> str:
        if not AE_TITLE.fullmatch(value):
            raise ValueError(f"{value!r} is no AE title: 1 to 16 characters of ASCII without backslash")
        return value

    @field_validator("host")
    @classmethod
    def _can_be_a_host(cls, value: str) -> str:
        """Refuse what no sender can be: it would keep the peer out without a word."""
        if _HOST_NAME.fullmatch(value):
            return value
        try:
            ip_network(value, strict=False)
        except ValueError:
            text = f"{value!r} is no name, no address and no CIDR such as 10.1.2.0/24"
            raise ValueError(text) from None
        return value
