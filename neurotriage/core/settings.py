"""Configuration: ``config.toml`` and environment variables ``NEUROTRIAGE__SECTION__FIELD``.

The environment wins over the file, the file over the defaults. A misspelt key is refused by name.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from neurotriage.core.errors import SetupError
from neurotriage.core.setting_errors import explained
from neurotriage.core.values import SERIES_LABELS, Claims, OverlayStyle, ResultKind, SeriesLabel

ENVIRONMENT_PREFIX = "NEUROTRIAGE__"
CONFIG_VARIABLE = "NEUROTRIAGE_CONFIG"
NO_ENCRYPTED_INTAKE: Final = "intake cannot be encrypted yet, so the listener does not start"
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
# PS3.5 table 6.2-1, VR AE: default repertoire without backslash and control characters; not only spaces.
AE_TITLE: Final = re.compile(r"(?=.*[^ ])[ -\[\]-~]{1,16}")
# RFC 1123 with the underscore that containers' names have; the last label has a letter, or it would be an
# address that was mistyped.
_LABEL: Final = "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST_NAME: Final = re.compile(rf"(?!.{{254}})({_LABEL}\.)*(?![0-9-]+\.?$){_LABEL}\.?")


class ConfigurationError(SetupError):
    """The configuration cannot be used; the message names each wrong key on a line of its own."""


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsSettings(Section):
    """PEM files: our certificate with its key, and who signed the peer's (by default the system's CAs)."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None


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


class AssemblySettings(Section):
    """``[assembly]``: when a study counts as complete."""

    quiet_s: float = Field(60.0, gt=0, description="complete when no instance came for this long")


class DatabaseSettings(Section):
    """``[database]``: the Postgres server."""

    url: str = Field(
        "postgresql+psycopg2://neurotriage@127.0.0.1:5432/neurotriage", description="SQLAlchemy URL"
    )


class BrokerSettings(Section):
    """``[broker]``: the Redis or Valkey server of the queue."""

    url: str = Field("redis://127.0.0.1:6379/0", description="Redis or Valkey URL")


class StorageSettings(Section):
    """``[storage]``: the folder that holds received bytes and results."""

    root: Path = Field(Path("storage"), description="folder for received bytes, evidence and results")
    min_free_bytes: int = Field(2 * 1024**3, ge=0, description="below this, C-STORE answers 0xA700")


class WorkerSettings(Section):
    """``[worker]``: limits of the analysis and of delivery."""

    weights: Path = Field(_PACKAGE_ROOT / "weights", description="folder with the model weights")
    models: Literal["full", "light"] = Field(
        "full", description="models that decide; light: the small ones, where there are any"
    )
    threads: int = Field(0, ge=0, description="torch threads per analysis process; 0 takes all cores")
    engine: Literal["auto", "torch", "torch-bf16", "onnxruntime", "onnxruntime-int8", "cuda"] = Field(
        "auto", description="engine of the networks; auto: the best one as measured by `neurotriage engines`"
    )
    memory_mb: int = Field(
        4096, ge=0, description="memory of its own that an analysis process may have; 0 sets no bound"
    )
    lease_s: float = Field(60.0, gt=0, description="a claim not renewed for this long may be taken over")
    deadline_s: float = Field(
        1800.0, gt=0, description="the lease of an attempt is not renewed for longer than this"
    )
    max_attempts: int = Field(3, ge=1, description="attempts at one revision before it ends failed")
    sweep_s: float = Field(10.0, gt=0, description="how often the tables are swept for work that waits")


class DeliverySettings(Section):
    """``[delivery]``: when sending is repeated while a destination does not take results."""

    retry_s: float = Field(30.0, gt=0, description="delay before the second try; doubles with each")
    retry_max_s: float = Field(3600.0, gt=0, description="longest delay between two tries")
    max_attempts: int = Field(200, ge=1, description="tries before a delivery is given up (about a week)")
    alarm_after_s: float = Field(
        900.0, gt=0, description="a delivery that waits longer than this raises an alarm"
    )
    commitment_wait_s: float = Field(
        3600.0,
        gt=0,
        description="wait this long for commitment before querying",
    )
    max_resends: int = Field(
        2, ge=0, description="how often an object that the destination lost is sent again"
    )


ObjectName = Literal[
    "page", "overlay", "overlay-multiframe", "report", "ko", "seg", "seg-labelmap", "pm", "gsps", "pdf"
]
_OF_EVERY_SLICE = {
    ResultKind.OVERLAY: ResultKind.OVERLAY_SERIES,
    ResultKind.OVERLAY_FRAMES: ResultKind.OVERLAY_SERIES_FRAMES,
}


class SeriesSettings(Section):
    """``[[results.series]]``: number and description of the series of one kind of object."""

    kind: ResultKind
    number: int = Field(ge=1, le=2**31 - 1)
    description: str = Field(min_length=1, max_length=64, pattern=r"^[^\\\x00-\x1f]*$")


class ResultsSettings(Section):
    """``[results]``: the content of result objects."""

    claims: Claims = Field(Claims.RESEARCH, description="triage-only: no region, side, class or heat map")
    overlay: OverlayStyle = Field(
        OverlayStyle.HEAT,
        description="overlays show heat map and outline, the outline alone, or both beside the bare slice",
    )
    series: tuple[SeriesSettings, ...] = Field((), description="series numbers and descriptions of our own")

    @property
    def labels(self) -> dict[ResultKind, SeriesLabel]:
        """Number and description of the series of each kind, the configured ones first."""
        own = {item.kind: SeriesLabel(item.number, item.description) for item in self.series}
        return {**SERIES_LABELS, **own}


def _spelt_out(names: object) -> object:
    """``sc`` stands for page and overlay, ``sr`` for report."""
    short = {"sc": ["page", "overlay"], "sr": ["report"]}
    if not isinstance(names, list | tuple):
        return names
    return [kind for name in names for kind in short.get(str(name), [name])]


class Destination(Section):
    """``[[destination]]``: a PACS that receives the results."""

    name: str = Field(pattern=r"^[^/]+$")  # a slash is followed by the peer that sent the study
    type: Literal["dimse", "dicomweb"] = Field("dimse", description="C-STORE, or STOW-RS")
    to_sender: bool = Field(False, description="to the [[peer]] that sent the study")
    ae_title: str = Field("", max_length=16, validate_default=True)
    host: str = Field("", validate_default=True)
    port: int = Field(0, ge=0, le=65535, validate_default=True)
    url: str = Field("", validate_default=True, description="of the DICOMweb service, above /studies")
    token_file: Path | None = Field(None, description="holds the bearer token; read anew for each study")
    tls: TlsSettings | None = Field(None, description="encrypt; certificate and key are the client's")
    compression: Literal["none", "jpeg-ls"] = Field(
        "none", description="lossless, of pictures, where the archive accepts it"
    )
    commitment: Literal["auto", "off"] = Field("auto", description="ask for storage commitment where offered")
    find: Literal["image", "series", "off"] = Field(
        "image", description="level of the query for objects that were not committed"
    )
    rejection_notes: bool = Field(False, description="gets a rejection note (IOCM) for recalled results")
    report_unanalysed: Literal["head", "all", "none"] = "head"
    objects: Annotated[tuple[ObjectName, ...], BeforeValidator(_spelt_out)] = Field(
        ("page", "overlay", "report"), min_length=1, description="the kinds of object that it receives"
    )
    overlay: Literal["findings", "series", "none"] = Field(
        "findings", description="overlays of the slices that matter, of every slice, or none"
    )

    @field_validator("ae_title", "host", "port", "url")
    @classmethod
    def _has_its_address(cls, value: str | int, info: ValidationInfo) -> str | int:
        """Require the address that belongs to the type of destination, and no other."""
        if "type" not in info.data or "to_sender" not in info.data:
            return value  # that is an error of its own
        web = info.data["type"] == "dicomweb"
        needed = web if info.field_name == "url" else not web and not info.data["to_sender"]
        if needed and not value:
            raise ValueError(f"a destination of type {info.data['type']} needs it")
        if value and not needed:
            owner = "dimse without to_sender" if info.field_name != "url" else "dicomweb"
            raise ValueError(f"only for type {owner}")
        if value and info.field_name == "url" and not re.match(r"https?://[^/@]+(/[^@]*)?$", str(value)):
            raise ValueError("not an http or https URL without user and password")
        return value

    @field_validator("to_sender", "compression")
    @classmethod
    def _is_reached_by_dimse(cls, value: bool | str, info: ValidationInfo) -> bool | str:
        if value and value != "none" and info.data.get("type") == "dicomweb":
            raise ValueError("only for type dimse")
        return value

    @property
    def kinds(self) -> frozenset[ResultKind]:
        """The kinds of object that the destination receives."""
        asked = frozenset(map(ResultKind, self.objects))
        if self.overlay == "findings":
            return asked
        of_every_slice = {every for kind, every in _OF_EVERY_SLICE.items() if kind in asked}
        return asked - _OF_EVERY_SLICE.keys() | (of_every_slice if self.overlay == "series" else set())


class Peer(Section):
    """``[[peer]]``: who may send."""

    ae_title: str = Field(max_length=16)
    host: str = Field(description="a name, an address or a CIDR")
    port: int | None = Field(None, ge=1, le=65535)

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


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    listener: ListenerSettings = ListenerSettings()
    assembly: AssemblySettings = AssemblySettings()
    database: DatabaseSettings = DatabaseSettings()
    broker: BrokerSettings = BrokerSettings()
    storage: StorageSettings = StorageSettings()
    worker: WorkerSettings = WorkerSettings()
    delivery: DeliverySettings = DeliverySettings()
    results: ResultsSettings = ResultsSettings()
    destination: tuple[Destination, ...] = ()
    peer: tuple[Peer, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over ``config.toml``."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())


def config_file() -> Path:
    """The configuration file: ``$NEUROTRIAGE_CONFIG``, else ``config.toml`` in the working folder."""
    return Path(os.environ.get(CONFIG_VARIABLE, "config.toml"))


def load_settings() -> Settings:
    """Read and check the configuration.

    Raises ``ConfigurationError`` with one line per wrong key.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not Path(named).exists():
        raise ConfigurationError(f"{CONFIG_VARIABLE} names {named}, which does not exist")
    try:
        settings = Settings()
    except ValidationError as error:
        raise ConfigurationError(explained(error, _as_written)) from None
    except SettingsError as error:  # a variable that should hold JSON
        raise ConfigurationError(f"environment: {error}") from None
    except ValueError as error:  # not TOML
        raise ConfigurationError(f"{config_file()}: {error}") from None
    unknown = _unknown_variables()
    if unknown:
        raise ConfigurationError("\n".join(f"{name}: there is no such setting" for name in unknown))
    return settings


def require_unencrypted_intake(settings: Settings) -> None:
    """Raise ``ConfigurationError`` where ``[listener.tls]`` is set.

    Intake cannot be encrypted yet, and a site that asks for encryption must not get a listener without it.
    """
    if settings.listener.tls is not None:
        raise ConfigurationError(
            f"listener.tls: {NO_ENCRYPTED_INTAKE}. Remove [listener.tls], and let images come only through "
            "a network that you trust"
        )


def environment_of(settings: Settings) -> dict[str, str]:
    """Environment variables with which a child process reads exactly this configuration and no file."""
    variables = {
        f"{ENVIRONMENT_PREFIX}{name.upper()}": json.dumps(value)
        for name, value in settings.model_dump(mode="json").items()
    }
    return {**variables, CONFIG_VARIABLE: os.devnull}


def _as_written(section: str) -> Any:
    """A section before it was checked: from the environment if it is set there, else from the file."""
    wanted = f"{ENVIRONMENT_PREFIX}{section}".upper()
    variable = next((value for name, value in os.environ.items() if name.upper() == wanted), None)
    if variable is not None:
        return json.loads(variable)
    document: Mapping[str, Any] = tomllib.loads(config_file().read_text(encoding="utf-8"))
    return document[section]


def _unknown_variables() -> list[str]:
    """Environment variables with our prefix whose section does not exist (pydantic ignores those)."""
    return sorted(
        name
        for name in os.environ
        if name.upper().startswith(ENVIRONMENT_PREFIX)
        and name[len(ENVIRONMENT_PREFIX) :].split("__")[0].lower() not in Settings.model_fields
    )
