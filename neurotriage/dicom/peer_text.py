"""Text that a peer wrote, made fit for a column, a log line and a terminal."""

import re
from typing import Final

# Controls of ASCII and Latin-1, halves of a surrogate pair, line separators, and what turns the direction of
# writing: none of them belongs into one line, and Postgres takes neither NUL nor half a pair.
_UNFIT: Final = re.compile("[\x01-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")

AE_TITLE_LIMIT: Final = 16  # PS3.5 6.2
UID_LIMIT: Final = 64  # PS3.5 6.2


def peer_text(value: object, limit: int) -> str:
    """At most ``limit`` characters of one trimmed line; characters that are fit for none become blanks."""
    # Cut first, generously: cleaning a megabyte for the sake of a few characters costs time.
    return _UNFIT.sub(" ", str(value)[: 4 * limit].replace("\0", "")).strip()[:limit].rstrip()
