"""Free text of a header, without the names and ids of the patient."""

import re
from collections.abc import Iterable
from typing import Final

from pydicom import Dataset

# Names and ids in free text: the shortest that is blanked, and the shortest that is blanked inside a word.
_SHORTEST_BLANKED: Final = 3
_SHORTEST_INSIDE: Final = 5
_OF_ANY_HEAD: Final = frozenset({"head", "brain", "skull", "axial", "routine", "contrast"})


def without_identity(words: str, header: Dataset) -> str:
    """Free text of a header with the patient's names and ids replaced by ``...``.

    Names of three letters and more; shorter than five letters, only whole words. A name that is also a usual
    word of descriptions (Head) is replaced only beside another name or id.
    """
    identity = (
        f"{header.get('PatientName', '')} {header.get('PatientID', '')} {header.get('OtherPatientIDs', '')}"
    )
    parts = {part for part in re.split(r"[\s^=,\\\[\]']+", identity) if len(part) >= _SHORTEST_BLANKED}
    common = {part for part in parts if part.casefold() in _OF_ANY_HEAD}
    blanked = _blanked(words, parts - common)
    return blanked if blanked == words else _blanked(blanked, common)


def _blanked(words: str, parts: Iterable[str]) -> str:
    for part in sorted(parts, key=len, reverse=True):
        name = re.escape(part)
        # Short names occur inside words: LAI in FLAIR.
        if part.isalpha() and len(part) < _SHORTEST_INSIDE:
            name = rf"(?<![^\W\d_]){name}(?![^\W\d_])"
        words = re.sub(name, "...", words, flags=re.IGNORECASE)
    return words
