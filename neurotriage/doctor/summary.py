"""Checks of the language model that may arrange summaries: its key, its address, its name."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from neurotriage.core.settings import SummarySettings
from neurotriage.doctor.check import Check, failed, ok, warning
from worker.provider import ProviderError, ProviderFault, find_model, read_key

_FIND_S: Final = 10.0
_ADVICE: Final = {
    ProviderFault.NO_KEY: "Put the key into [summary] key_file, or set GROQ_API_KEY for the worker.",
    ProviderFault.NOT_ALLOWED: "Make a new key at the provider.",
    ProviderFault.MODEL_GONE: "Set [summary] model to one that the provider has.",
}
_KEPT: Final = "Until then every study keeps the text of the template."


def look_at_summary(summary: SummarySettings) -> Iterator[Check]:
    """Whether the model would answer; no fact of a study is sent."""
    host = urlsplit(summary.base_url).hostname
    said = f"facts of each analysis go to {host} (no name, identifier, date or text of a header)"
    yield warning("consent", said, "Make sure that the hospital agrees, or set [summary] provider to none.")
    try:
        key = read_key(summary.key_file)
    except ProviderError as error:
        yield failed("key", error.text, f"{_ADVICE[error.fault]} {_KEPT}")
        return
    yield ok("key", "it can be read")
    try:
        find_model(summary, key, _FIND_S)
    except ProviderError as error:
        advice = _ADVICE.get(error.fault, f"Check [summary] base_url and the way to {host}.")
        yield failed("model", error.text, f"{advice} {_KEPT}")
    else:
        yield ok("model", f"{summary.model} is there")
