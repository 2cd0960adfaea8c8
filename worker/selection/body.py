"""The part of the body that a header names, in the languages in which scanners are operated.

Words are compared in capitals and without accents. A stem matches the start of a word, a whole word only
itself; in scripts without capitals a stem matches anywhere in the text.
"""

import re
import unicodedata
from enum import StrEnum
from typing import Final

from worker.selection.facts import SeriesFacts


class BodyPart(StrEnum):
    """The part of the body that a text names."""

    HEAD = "head"
    OTHER = "other"
    UNKNOWN = "unknown"


# English, French, German, Italian, Spanish, Portuguese, Dutch, Scandinavian, Polish, Turkish, Romanian
_HEAD_STEMS: Final = (
    "HEAD", "BRAIN", "CEREBR", "CEREBEL", "CERVEAU", "CERVELL", "CRAN", "KRANI", "INTRACRAN",
    "SKULL", "SCHADEL", "KOPF", "HIRN", "GEHIRN", "ENCEPH", "ENCEF", "ENZEPH", "TETE", "TESTA",
    "CABEZA", "CABECA", "CEREB", "SCHEDEL", "HERSEN", "HOOFD", "HJERNE", "HJARN", "HODE", "HOVED",
    "HUVUD", "GLOW", "MOZG", "HLAV", "MOZEK", "BEYIN", "KAFA", "CREIER", "SELLA", "PITUIT",
    "HYPOPH", "HIPPOC", "GLIOM", "GLIOBL",
)  # fmt: skip
_HEAD_WORDS: Final = frozenset({"CCT", "CNS", "GBM"})
_HEAD_ANYWHERE: Final = (
    "ГОЛОВ",
    "МОЗГ",
    "ЧЕРЕП",
    "ΕΓΚΕΦΑΛ",
    "ΚΕΦΑΛ",
    "頭",
    "脳",
    "脑",
    "腦",
    "颅",
    "뇌",
    "두부",
)
# Means the head only if no other part is named: neuroradiology also images the spine.
_WEAK_HEAD_STEMS: Final = ("NEURO",)

_OTHER_STEMS: Final = (
    "SPINAL", "CSPINE", "TSPINE", "LSPINE", "CERVIC", "ZERVIK", "LUMB", "THORA", "TORAX", "TORAC",
    "SACR", "WIRBEL", "RACHIS", "RAQUIS", "COLONN", "COLUMN", "COLUNA", "KOLUMN", "VERTEBR",
    "CHEST", "LUNG", "PULM", "HEART", "CARDI", "CORONARY", "ABDOM", "LIVER", "HEPAT", "LEBER",
    "PANCRE", "KIDNEY", "NIERE", "RENAL", "ADREN", "PELV", "BECKEN", "BASSIN", "PROSTAT", "BLADDER",
    "UTER", "OVAR", "ENTERO", "BOWEL", "KNEE", "GENOU", "RODILLA", "SHOULD", "SCHULT", "EPAUL",
    "HOMBRO", "ANKLE", "ELBOW", "WRIST", "FINGER", "EXTREM", "FEMUR", "TIBIA", "HUMER", "BREAST",
    "MAMM", "BRUST", "THYRO", "PAROTI", "LARYN", "PHARYN", "SINUS", "ORBIT", "FACIAL", "MAXIL",
    "MANDIB", "DENTAL", "PETROUS", "PLEXUS", "AORT", "WHOLEBODY", "GANZKORPER", "TORSO", "CAROTI",
    "OESOPH", "ESOPH", "MEDIAST", "NECK", "CUELLO", "PIERNA", "CHEVILLE",
)  # fmt: skip
_OTHER_WORDS: Final = frozenset({
    "SPINE", "HIP", "HUFTE", "HANCHE", "KNIE", "FOOT", "FEET", "FUSS", "PIED", "HAND", "LEG", "ARM", "COU",
    "HALS", "IAC", "TMJ", "FACE", "HWS", "BWS", "LWS", "MRCP", "TAP", "JOINT",
})  # fmt: skip

# The most specific text first; the first that names a part decides.
_PLACES: Final = (
    ("SeriesDescription", "(0008,103E)"),
    ("BodyPartExamined", "(0018,0015)"),
    ("AnatomicRegion", "(0008,2218)"),
    ("ProtocolName", "(0018,1030)"),
    ("StudyDescription", "(0008,1030)"),
)


def words_of(text: str) -> tuple[str, ...]:
    """The words of a header text, in capitals and without accents; empty for a text without words.

    Words are separated by everything but letters and digits (Unicode NFKD, combining marks removed).
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.upper()) if not unicodedata.combining(c))
    return tuple(re.findall(r"[^\W_]+", plain))


def body_part_in(text: str) -> BodyPart:
    """The part that a text names; HEAD if it names the head and another part, UNKNOWN if it names none."""
    words = words_of(text)
    if _HEAD_WORDS.intersection(words) or any(word.startswith(_HEAD_STEMS) for word in words):
        return BodyPart.HEAD
    if any(stem in text.upper() for stem in _HEAD_ANYWHERE):
        return BodyPart.HEAD
    if _OTHER_WORDS.intersection(words) or any(word.startswith(_OTHER_STEMS) for word in words):
        return BodyPart.OTHER
    if any(word.startswith(_WEAK_HEAD_STEMS) for word in words):
        return BodyPart.HEAD
    return BodyPart.UNKNOWN


def body_part(facts: SeriesFacts) -> tuple[BodyPart, str]:
    """The body part that a series' header names, and the attribute with its value; (UNKNOWN, "") for none.

    By Series Description, Body Part Examined, Anatomic Region, Protocol Name, Study Description, in this
    order.
    """
    for name, tag in _PLACES:
        part = body_part_in(facts.texts.get(name, ""))
        if part is not BodyPart.UNKNOWN:
            return part, f"{tag} {name} = {facts.texts[name]}"
    return BodyPart.UNKNOWN, ""
