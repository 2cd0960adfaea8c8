"""The text beside the results, and the language model that may choose its sentences."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from neurotriage.core.settings.section import Section
from neurotriage.core.summary import Language


class SummarySettings(Section):
    """``[summary]``: the text beside the results."""

    language: Language = Field(Language.ENGLISH, description="en or de")
    plain_language: bool = Field(False, description="adds a version for readers without medical training")
    provider: Literal["none", "groq"] = Field(
        "none", description="groq: a language model chooses and orders the sentences; each is checked"
    )
    model: str = Field("openai/gpt-oss-20b", min_length=1, description="name of the model at the provider")
    base_url: str = Field("https://api.groq.com", pattern=r"^https?://[^/@\s]+(/[^@\s]*)?$")
    key_file: Path | None = Field(None, description="holds the API key; none: GROQ_API_KEY is read")
    timeout_s: float = Field(10.0, gt=0, description="for one request")
    retries: int = Field(2, ge=0, le=10, description="of a request that met 429, 5xx or a cut connection")
    seed: int = Field(0, ge=0)
    wait_s: float = Field(60.0, gt=0, description="after this long the text of the template stays")
    requests_per_minute: int = Field(20, ge=1)
    failures_to_pause: int = Field(3, ge=1, description="failures in a row after which no request is made")
    pause_s: float = Field(300.0, gt=0, description="for this long")

    @field_validator("base_url")
    @classmethod
    def _is_encrypted(cls, value: str) -> str:
        """Require https, except to this machine."""
        host = value.split("://", 1)[1].split("/", 1)[0]
        if value.startswith("http://") and host.rsplit(":", 1)[0] not in ("127.0.0.1", "localhost", "[::1]"):
            raise ValueError("must be https: the API key and facts about patients go there")
        return value
