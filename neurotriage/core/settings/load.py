"""The whole configuration: ``config.toml`` and environment variables ``NEUROTRIAGE__SECTION__FIELD``.

The environment wins over the file, the file over the defaults. A misspelt key is refused by name.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from neurotriage.core.errors import SetupError
from neurotriage.core.setting_errors import explained
from neurotriage.core.settings.alarms import AlarmsSettings
from neurotriage.core.settings.doors import IdentitySettings, PullSettings, StowSettings
from neurotriage.core.settings.intake import (
    AssemblySettings,
    ListenerSettings,
    Peer,
    PrioritySettings,
    StorageSettings,
)
from neurotriage.core.settings.outgoing import DeliverySettings, Destination, ResultsSettings
from neurotriage.core.settings.processing import (
    BrokerSettings,
    DatabaseSettings,
    MetricsSettings,
    OperationsSettings,
    SelectionSettings,
    WorkerSettings,
)
from neurotriage.core.settings.summary import SummarySettings

ENVIRONMENT_PREFIX = "NEUROTRIAGE__"
CONFIG_VARIABLE = "NEUROTRIAGE_CONFIG"


class ConfigurationError(SetupError):
    """The configuration cannot be used; the message names each wrong key on a line of its own."""


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        defer_build=True,  # most commands, and --help, need a part of it or none
    )

    listener: ListenerSettings = Field(default_factory=ListenerSettings)
    assembly: AssemblySettings = Field(default_factory=AssemblySettings)
    priority: PrioritySettings = Field(default_factory=PrioritySettings)
    identity: IdentitySettings = Field(default_factory=IdentitySettings)
    pull: PullSettings = Field(default_factory=PullSettings)
    stow: StowSettings | None = None
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    selection: SelectionSettings = Field(default_factory=SelectionSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    results: ResultsSettings = Field(default_factory=ResultsSettings)
    summary: SummarySettings = Field(default_factory=SummarySettings)
    operations: OperationsSettings = Field(default_factory=OperationsSettings)
    metrics: MetricsSettings | None = None
    alarms: AlarmsSettings | None = None
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


def require_protected_ports(settings: Settings) -> None:
    """Raise ``ConfigurationError`` where others can reach a port in plain text and nobody said that they may.

    Patients' images would cross the network readable, and any host could claim to be a peer.
    """
    ports = settings.listener.ports
    open_ports = [p for p in ports if p.tls is None and not p.unencrypted and not p.is_loopback]
    if open_ports:
        raise ConfigurationError(
            "\n".join(
                f"listener: {port.host}:{port.port} can be reached from the network and is not encrypted: "
                "set up its tls, or name in `unencrypted` the networks that may send in plain text"
                for port in open_ports
            )
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
