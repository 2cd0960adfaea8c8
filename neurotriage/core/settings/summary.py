"""The text beside the results, and the models of others that may be asked about it."""

from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from neurotriage.core.settings.section import Section
from neurotriage.core.summary import Language

_THIS_MACHINE: Final = ("127.0.0.1", "localhost", "::1")
# No user, and nothing behind the brackets of an IPv6 address but a port.
_ADDRESS: Final = r"^https?://([^/@\s\[\]?#\\]+|\[[0-9A-Fa-f:.]+\](:[0-9]+)?)(/[^@\s]*)?$"


class ProviderModel(Section):
    """A model of a provider, and how it is reached."""

    provider: Literal["none", "groq"] = Field("none", description="none: nobody is asked")
    model: str = Field(min_length=1, description="name of the model at the provider")
    base_url: str = Field("https://api.groq.com", pattern=_ADDRESS)
    key_file: Path | None = Field(None, description="holds the API key; none: the environment does")
    timeout_s: float = Field(10.0, gt=0, description="for one request")
    seed: int = Field(0, ge=0)
    strict: bool = Field(True, description="JSON schema held strictly; false for models that cannot")

    @field_validator("base_url")
    @classmethod
    def _is_encrypted(cls, value: str) -> str:
        """Require https, except to this machine."""
        if value.startswith("http://") and urlsplit(value).hostname not in _THIS_MACHINE:
            raise ValueError("must be https: the API key and facts about patients go there")
        return value

    @property
    def asked(self) -> bool:
        """True if the model is to be asked."""
        return self.provider != "none"


class SecondOpinionSettings(ProviderModel):
    """``[summary.second_opinion]``: a vision model that is shown a few slices."""

    # No default: vision models come and go at providers.
    model: str = Field(
        "", validate_default=True, description="name of the model at the provider; needed where it is asked"
    )
    send_pixels: bool = Field(False, description="consent: pictures of slices leave the site")
    slices: int = Field(3, ge=1, le=5, description="at most this many are shown")

    @field_validator("model")
    @classmethod
    def _is_named(cls, value: str, info: ValidationInfo) -> str:
        """Require a name where a provider is set."""
        if info.data.get("provider", "none") != "none" and not value.strip():
            raise ValueError("this is needed where provider is set: name a vision model that it has")
        return value

    @property
    def asked(self) -> bool:
        """True if the model is to be asked: without consent it is not."""
        return super().asked and self.send_pixels


class SummarySettings(ProviderModel):
    """``[summary]``: the text beside the results, which a language model may arrange."""

    model: str = Field("openai/gpt-oss-20b", min_length=1, description="name of the model at the provider")
    language: Language = Field(Language.ENGLISH, description="en or de")
    plain_language: bool = Field(False, description="adds a version for readers without medical training")
    retries: int = Field(2, ge=0, le=10, description="of a request that met a fault that passes")
    wait_s: float = Field(60.0, gt=0, description="after this long the text of the template stays")
    requests_per_minute: int = Field(20, ge=1)
    failures_to_pause: int = Field(3, ge=1, description="failures in a row after which no request is made")
    pause_s: float = Field(300.0, gt=0, description="for this long")
    second_opinion: SecondOpinionSettings = Field(default_factory=SecondOpinionSettings)

    @property
    def asks(self) -> bool:
        """True if any model of somebody else is to be asked about a study."""
        return self.asked or self.second_opinion.asked
