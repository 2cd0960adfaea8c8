"""The servers, and the worker that analyses."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from neurotriage.core.settings.section import Section

_PACKAGE_ROOT = Path(__file__).resolve().parents[3]


class DatabaseSettings(Section):
    """``[database]``: the Postgres server."""

    url: str = Field(
        "postgresql+psycopg2://neurotriage@127.0.0.1:5432/neurotriage", description="SQLAlchemy URL"
    )


class BrokerSettings(Section):
    """``[broker]``: the Redis or Valkey server of the queue."""

    url: str = Field("redis://127.0.0.1:6379/0", description="Redis or Valkey URL")


class SelectionSettings(Section):
    """``[selection]``: which series are analysed."""

    rules: Path | None = Field(None, description="TOML file with rules of the site; none: the built-in alone")


class WorkerSettings(Section):
    """``[worker]``: limits of the analysis and of delivery."""

    weights: Path = Field(_PACKAGE_ROOT / "weights", description="folder with the model weights")
    models: Literal["full", "light"] = Field(
        "full", description="models that decide; light: the small ones, where there are any"
    )
    threads: int = Field(0, ge=0, description="torch threads per analysis process; 0 takes all cores")
    engine: Literal[
        "auto", "torch", "torch-bf16", "openvino", "openvino-bf16", "onnxruntime", "onnxruntime-int8", "cuda"
    ] = Field(
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


class OperationsSettings(Section):
    """``[operations]``: from when on ``neurotriage status`` tells an alarm."""

    urgent_alarm_s: float = Field(600.0, gt=0, description="an urgent study waits for a worker for longer")
    routine_alarm_s: float = Field(3600.0, gt=0, description="a routine study waits for a worker for longer")
    spool_alarm_s: float = Field(300.0, gt=0, description="what was received is not recorded for longer")
    disk_alarm_days: float = Field(
        7.0, ge=0, description="the disk will be full sooner, at the rate of the last days"
    )
    paused_alarm_s: float = Field(
        86_400.0, gt=0, description="what somebody paused has rested, or results were held, for longer"
    )
    quarantine_alarm: int = Field(
        100, ge=0, description="more objects were set aside within a day; 0 tells no alarm"
    )
    silent_alarm_h: float = Field(
        0.0, ge=0, le=168, description="a peer sent no study for so long in its usual hours; 0 tells no alarm"
    )


class MetricsSettings(Section):
    """``[metrics]``: metrics and health by HTTP; the service runs where the table is there."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(9464, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    cache_s: float = Field(5.0, gt=0, description="tables are asked no more often than this")
