"""The API key, from a file or the environment; never from the configuration itself, never in a log."""

import os
from pathlib import Path
from typing import Final

from worker.provider.faults import ProviderError, ProviderFault

KEY_VARIABLE: Final = "GROQ_API_KEY"
OPINION_KEY_VARIABLE: Final = "GROQ_SECOND_OPINION_API_KEY"


def read_key(file: Path | None, variable: str = KEY_VARIABLE) -> str:
    """The key in ``file``, or in the environment variable without one. Raises ``ProviderError`` for none."""
    try:
        key = (os.environ.get(variable, "") if file is None else file.read_text("utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ProviderError(ProviderFault.NO_KEY, f"the file of the key cannot be read: {file}") from error
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        place = variable if file is None else str(file)
        raise ProviderError(ProviderFault.NO_KEY, f"{place} holds no key")
    return key
