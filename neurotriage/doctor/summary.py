"""Checks of the models of others that may be asked about a study: consent, key, address, name."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from neurotriage.core.settings import ProviderModel, SummarySettings
from neurotriage.doctor.check import Check, failed, ok, warning
from worker.provider import (
    KEY_VARIABLE,
    OPINION_KEY_VARIABLE,
    ProviderError,
    ProviderFault,
    find_model,
    read_key,
)
from worker.second_opinion import TextFinder, Withheld

_FIND_S: Final = 8.0
_KEPT: Final = "Until then every study keeps the text of the template."
_NO_OPINION: Final = "Until then there is no second opinion."


def look_at_summary(summary: SummarySettings) -> Iterator[Check]:
    """Whether the models would answer; nothing of a study is sent."""
    if summary.asked:
        host = urlsplit(summary.base_url).hostname
        said = f"facts of each analysis go to {host} (no name, identifier, date or text of a header)"
        advice = "Make sure that the hospital agrees, or set [summary] provider to none."
        yield warning("consent", said, advice)
        yield from _model("", summary, KEY_VARIABLE, _KEPT)
    opinion = summary.second_opinion
    if opinion.provider != "none" and not opinion.send_pixels:
        said = "a second opinion is configured, and no picture may leave"
        yield warning("second opinion", said, "Set send_pixels to true where the hospital agrees.")
    elif opinion.asked:
        said = (
            f"pictures of slices go to {urlsplit(opinion.base_url).hostname}; vision models obey text within "
            "pictures, so pictures in which text is found are withheld, which no reader of text can promise"
        )
        advice = "Make sure that the hospital agrees, or set send_pixels to false."
        yield warning("second opinion", said, advice)
        try:
            TextFinder()
        except Withheld as withheld:
            yield failed("second opinion", str(withheld), f"Install it. {_NO_OPINION}")
        yield from _model("second opinion ", opinion, OPINION_KEY_VARIABLE, _NO_OPINION)


def _model(whose: str, access: ProviderModel, variable: str, meanwhile: str) -> Iterator[Check]:
    advice = {
        ProviderFault.NO_KEY: f"Put the key into key_file, or set {variable} for the worker.",
        ProviderFault.NOT_ALLOWED: "Make a new key at the provider.",
        ProviderFault.MODEL_GONE: "Set model to one that the provider has.",
    }
    usual = f"Check base_url and the way to {urlsplit(access.base_url).hostname}."
    try:
        key = read_key(access.key_file, variable)
        yield ok(f"{whose}key", "it can be read")
        find_model(access, key, _FIND_S)
        yield ok(f"{whose}model", f"{access.model} is there")
    except ProviderError as error:
        subject = "key" if error.fault is ProviderFault.NO_KEY else "model"
        yield failed(f"{whose}{subject}", error.text, f"{advice.get(error.fault, usual)} {meanwhile}")
