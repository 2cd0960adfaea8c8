"""The configuration: ``config.toml`` and environment variables; a file for each side of the product."""

from neurotriage.core.settings.intake import (
    AE_TITLE,
    AssemblySettings,
    InstallationUid,
    ListenerSettings,
    Peer,
    RequiredSeries,
    StorageSettings,
)
from neurotriage.core.settings.load import (
    CONFIG_VARIABLE,
    ENVIRONMENT_PREFIX,
    NO_ENCRYPTED_INTAKE,
    ConfigurationError,
    Settings,
    config_file,
    environment_of,
    load_settings,
    require_unencrypted_intake,
)
from neurotriage.core.settings.outgoing import (
    DeliverySettings,
    Destination,
    ObjectName,
    ResultsSettings,
    SeriesSettings,
)
from neurotriage.core.settings.processing import (
    BrokerSettings,
    DatabaseSettings,
    WorkerSettings,
)
from neurotriage.core.settings.section import (
    Section,
    TlsSettings,
)

__all__ = [
    "AE_TITLE",
    "CONFIG_VARIABLE",
    "ENVIRONMENT_PREFIX",
    "NO_ENCRYPTED_INTAKE",
    "AssemblySettings",
    "BrokerSettings",
    "ConfigurationError",
    "DatabaseSettings",
    "DeliverySettings",
    "Destination",
    "InstallationUid",
    "ListenerSettings",
    "ObjectName",
    "Peer",
    "RequiredSeries",
    "ResultsSettings",
    "Section",
    "SeriesSettings",
    "Settings",
    "StorageSettings",
    "TlsSettings",
    "WorkerSettings",
    "config_file",
    "environment_of",
    "load_settings",
    "require_unencrypted_intake",
]
