"""What comes in: the listener, its peers, when a study is complete, and where it is stored."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from neurotriage.core.priority import Priority
from neurotriage.core.settings.section import Section, ServerTls

# PS3.5 table 6.2-1, VR AE: default repertoire without backslash and control characters; not only spaces.
AE_TITLE: Final = re.compile(r"(?=.*[^ ])[ -\[\]-~]{1,16}")
# RFC 1123 with the underscore that containers' names have; the last label has a letter, or it would be an
# address that was mistyped.
_LABEL: Final = "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST_NAME: Final = re.compile(rf"(?!.{{254}})({_LABEL}\.)*(?![0-9-]+\.?$){_LABEL}\.?")


def require_ae_title(value: str) -> str:
    """``value``, where it is an AE title. Raises ``ValueError``."""
    if not AE_TITLE.fullmatch(value):
        raise ValueError(f"{value!r} is no AE title: 1 to 16 characters of ASCII without backslash")
    return value


InstallationUid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]


class ListenerTls(ServerTls):
    """TLS of a DICOM port, whose peers may be waived their certificates."""

    client_certificates: Literal["required", "none"] = Field(
        "required", description="none: a peer needs no certificate, and its address and AE title suffice"
    )

    @field_validator("client_certificates")
    @classmethod
    def _can_be_verified(cls, value: str, info: ValidationInfo) -> str:
        if value == "required" and info.data.get("ca") is None:
            raise ValueError("to require certificates of peers, name their ca")
        return value

    @property
    def requires_certificates(self) -> bool:
        return self.client_certificates == "required"


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this host alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ListeningPort(Section):
    """Where to listen, and how what comes there is protected."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(11112, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    tls: ListenerTls | None = Field(None, description="encrypts the port")
    unencrypted: tuple[str, ...] = Field(
        (), description="networks that may send in plain text to an address that others can reach"
    )

    @field_validator("unencrypted")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network, strict=False)
            except ValueError:
                raise ValueError(f"{network!r} is no network such as 10.1.2.0/24") from None
        return value

    @property
    def is_loopback(self) -> bool:
        """Whether this host alone can reach the address."""
        return is_loopback(self.host)


class CalledTitle(Section):
    """``[[listener.called]]``: a further AE title of ours, with rules of its own."""

    ae_title: str = Field(max_length=16)
    calling: tuple[str, ...] = Field((), description="calling AE titles that may use it; empty: every peer")
    priority: Priority | None = Field(
        None, description="class of the studies that come to it: urgent, routine or backlog"
    )

    @field_validator("ae_title")
    @classmethod
    def _is_an_ae_title(cls, value: str) -> str:
        return require_ae_title(value)


class ListenerSettings(ListeningPort):
    """``[listener]``: the DICOM listener that receives studies."""

    ae_title: str = Field("NEUROTRIAGE", max_length=16, description="our AE title; also our calling AE title")
    called: tuple[CalledTitle, ...] = Field((), description="further AE titles of ours")
    also: tuple[ListeningPort, ...] = Field((), description="further ports")
    max_associations: int = Field(32, ge=1, description="associations served at once")
    max_object_bytes: int = Field(
        8 * 1024**3, ge=1, description="an object longer than this ends its association"
    )
    max_unfinished_bytes: int = Field(
        16 * 1024**3,
        ge=1,
        description="of objects that a peer has begun to send; above, C-STORE answers 0xA700",
    )
    min_bytes_per_s: int = Field(
        2000, ge=0, description="an object that comes slower than this, after 10 s, ends its association"
    )
    network_timeout_s: float = Field(60.0, gt=0, description="an association idle for longer is closed")
    progress_timeout_s: float = Field(
        300.0,
        gt=0,
        description="an association that sends no data set, nor 64 kB of one, in this time is closed",
    )
    storage_commitment: bool = Field(
        False, description="whether a [[peer]] with host and port may ask us to commit what we received"
    )
    other_installations: tuple[InstallationUid, ...] = Field(
        (), description="installations whose results are recognised too: their (0008,0014)"
    )

    @property
    def ports(self) -> tuple[ListeningPort, ...]:
        """All ports, that of ``[listener]`` first."""
        return self, *self.also


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


# Not empty, or a prefix would fit every location.
_Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


class PrioritySettings(Section):
    """``[priority]``: which headers make a study urgent. Upper and lower case are the same."""

    requested: tuple[_Words, ...] = Field(
        ("STAT", "HIGH"), description="values of (0040,1003) and (0032,000C) that mean urgent"
    )
    locations: tuple[_Words, ...] = Field(
        (), description="emergency locations, whole: (0038,0300), (0032,1033) or (0008,1040)"
    )
    location_prefixes: tuple[_Words, ...] = Field((), description="how emergency locations begin")


class StorageSettings(Section):
    """``[storage]``: the folder that holds received bytes and results."""

    root: Path = Field(Path("storage"), description="folder for received bytes, evidence and results")
    min_free_bytes: int = Field(
        2 * 1024**3, ge=0, description="with less free space nothing is received; C-STORE answers 0xA700"
    )
    min_free_percent: float = Field(0.0, ge=0, lt=100, description="the same, in percent of the disk")
    resume_free_bytes: int = Field(
        0, ge=0, description="once short, receiving begins again with this much free space"
    )
    resume_free_percent: float = Field(0.0, ge=0, lt=100, description="the same, in percent of the disk")
    max_quarantine_bytes: int = Field(
        20 * 1024**3, ge=0, description="of files set aside; above, the oldest are deleted, their rows stay"
    )

    def reserved_bytes(self, total_bytes: int) -> int:
        """With less free space than this, on a disk of ``total_bytes``, nothing is received."""
        return max(self.min_free_bytes, int(self.min_free_percent * total_bytes / 100))


_FINGERPRINT: Final = re.compile(r"([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")
_SUBJECT: Final = re.compile(r" *[A-Za-z]+ *=[^,=]+(, *[A-Za-z]+ *=[^,=]+)*")


class Peer(Section):
    """``[[peer]]``: who may send, by address, by certificate, or by both."""

    ae_title: str = Field(max_length=16)
    certificate_sha256: str = Field("", description="fingerprint of its certificate, in hex")
    certificate_subject: str = Field(
        "", description='what the subject of its certificate says, as in "CN=ct1, O=Clinic"'
    )
    host: str = Field(
        "",
        validate_default=True,
        description="a name, an address or a CIDR; with a certificate it may be left out",
    )
    port: int | None = Field(None, ge=1, le=65535)
    max_associations: int | None = Field(None, ge=1, description="associations of this peer at once")
    max_bytes_per_day: int | None = Field(None, ge=1, description="what it may send in a day (UTC)")
    priority: Priority | None = Field(
        None, description="class of its studies, whatever their headers say: urgent, routine or backlog"
    )
    token_file: Path | None = Field(
        None, description="holds the bearer token with which it stores by STOW-RS"
    )
    count: bool = Field(False, description="it is asked how many instances the studies have that it sends")

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.count and self.port is None:
            raise ValueError("count = true needs the port at which it answers C-FIND")
        return self

    @field_validator("ae_title")
    @classmethod
    def _is_an_ae_title(cls, value: str) -> str:
        return require_ae_title(value)

    @field_validator("certificate_sha256")
    @classmethod
    def _is_a_fingerprint(cls, value: str) -> str:
        if value and not _FINGERPRINT.fullmatch(value):
            raise ValueError("no SHA-256 of a certificate: 64 hexadecimal digits, with or without colons")
        return value.replace(":", "").lower()

    @field_validator("certificate_subject")
    @classmethod
    def _is_a_subject(cls, value: str) -> str:
        if value and not _SUBJECT.fullmatch(value):
            raise ValueError('not a subject such as "CN=ct1, O=Clinic"')
        return value

    @field_validator("host")
    @classmethod
    def _can_be_a_host(cls, value: str, info: ValidationInfo) -> str:
        """Refuse what no sender can be: it would keep the peer out without a word."""
        if not value:
            if info.data.get("certificate_sha256") or info.data.get("certificate_subject"):
                return value
            raise ValueError("a peer needs it, unless it is bound to a certificate")
        if _HOST_NAME.fullmatch(value):
            return value
        try:
            ip_network(value, strict=False)
        except ValueError:
            text = f"{value!r} is no name, no address and no CIDR such as 10.1.2.0/24"
            raise ValueError(text) from None
        return value

    @property
    def is_bound_to_a_certificate(self) -> bool:
        return bool(self.certificate_sha256 or self.certificate_subject)
