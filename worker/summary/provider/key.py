"""The API key, from a file or the environment; never from the configuration itself, never in a log."""

import os
from pathlib import Path
from typing import Final

from worker.summary.provider.faults import ProviderError, ProviderFault

KEY_VARIABLE: Final = "GROQ_API_KEY"


def read_key(file: Path | None) -> str:
    """The key in ``file``, or in ``GROQ_API_KEY`` without one. Raises ``ProviderError`` for none."""
    try:
        key = (os.environ.get(KEY_VARIABLE, "") if file is None else file.read_text("utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ProviderError(ProviderFault.NO_KEY, f"the file of the key cannot be read: {file}") from error
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        place = KEY_VARIABLE if file is None else str(file)
        raise ProviderError(ProviderFault.NO_KEY, f"{place} holds no key")
    return key
