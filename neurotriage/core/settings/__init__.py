"""The configuration: ``config.toml`` and environment variables; a file for each side of the product."""

from neurotriage.core.settings.doors import IdentitySettings, PullSettings, StowSettings
from neurotriage.core.settings.intake import (
    AE_TITLE,
    AssemblySettings,
    CalledTitle,
    InstallationUid,
    ListenerSettings,
    ListenerTls,
    ListeningPort,
    Peer,
    PrioritySettings,
    RequiredSeries,
    StorageSettings,
    is_loopback,
)
from neurotriage.core.settings.load import (
    CONFIG_VARIABLE,
    ENVIRONMENT_PREFIX,
    ConfigurationError,
    Settings,
    config_file,
    environment_of,
    load_settings,
    require_protected_ports,
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
    OperationsSettings,
    SelectionSettings,
    WorkerSettings,
)
from neurotriage.core.settings.section import (
    Section,
    ServerTls,
    TlsSettings,
)
from neurotriage.core.settings.summary import ProviderModel, SecondOpinionSettings, SummarySettings

__all__ = [
    "AE_TITLE",
    "CONFIG_VARIABLE",
    "ENVIRONMENT_PREFIX",
    "AssemblySettings",
    "BrokerSettings",
    "CalledTitle",
    "ConfigurationError",
    "DatabaseSettings",
    "DeliverySettings",
    "Destination",
    "IdentitySettings",
    "InstallationUid",
    "ListenerSettings",
    "ListenerTls",
    "ListeningPort",
    "ObjectName",
    "OperationsSettings",
    "Peer",
    "PrioritySettings",
    "ProviderModel",
    "PullSettings",
    "RequiredSeries",
    "ResultsSettings",
    "SecondOpinionSettings",
    "Section",
    "SelectionSettings",
    "SeriesSettings",
    "ServerTls",
    "Settings",
    "StorageSettings",
    "StowSettings",
    "SummarySettings",
    "TlsSettings",
    "WorkerSettings",
    "config_file",
    "environment_of",
    "is_loopback",
    "load_settings",
    "require_protected_ports",
]
