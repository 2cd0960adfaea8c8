"""Ways in which a text goes wrong, as edits of its words: made without the verifier's own tables.

Each takes a true text and returns an untrue one, or None where that text cannot go wrong in this way.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from neurotriage.core.summary import Language
from worker.summary import Proposal

Text = Sequence[Proposal]
Corruption = Callable[[Random, Text, Language], list[Proposal] | None]

_SIDES: Final = {
    Language.ENGLISH: ("on the left", "on the right", "in the midline"),
    Language.GERMAN: ("links", "rechts", "in der Mittellinie"),
}
_NEGATIONS: Final = {
    Language.ENGLISH: (
        ("No tumour", "A tumour"),
        ("no tumour", "a tumour"),
        ("Tumour suspected", "No tumour suspected"),
        ("suspects a tumour", "suspects no tumour"),
        ("was not analysed", "was analysed"),
        ("were not analysed", "were analysed"),
        ("Not analysed", "Analysed"),
        ("does not rule out", "does rule out"),
        ("no safe answer", "a safe answer"),
        ("do not show", "do show"),
        ("disagrees", "agrees"),
        ("not for diagnosis", "for diagnosis"),
    ),
    Language.GERMAN: (
        ("keinen Tumor", "einen Tumor"),
        ("Kein Tumor", "Ein Tumor"),
        ("den Verdacht", "keinen Verdacht"),
        ("Verdacht auf einen", "Kein Verdacht auf einen"),
        ("nicht ausgewertet", "ausgewertet"),
        ("Nicht ausgewertet", "Ausgewertet"),
        ("nicht ausschließt", "ausschließt"),
        ("keine sichere", "eine sichere"),
        ("zeigen nicht", "zeigen"),
        ("widerspricht", "stimmt zu"),
        ("nicht zur Diagnose", "zur Diagnose"),
    ),
}
_UNITS: Final = (("mm", "cm"), (" %", " per mille"), ("mm", "ml"))
_PARAPHRASES: Final = {
    Language.ENGLISH: (
        ("suspected lesion", "probable mass"),
        ("Tumour suspected by the model", "Findings suggest a tumour"),
        ("suspects a tumour", "sees evidence of a tumour"),
        ("No tumour found", "Brain appears normal"),
        ("found no tumour", "saw a healthy brain"),
        ("on slices", "at levels"),
        ("there is no safe answer", "it is not entirely sure"),
        ("the radiologist's report decides", "a radiologist may wish to look"),
        ("Not analysed", "Not evaluated"),
        ("Research use only", "Intended mainly for research"),
    ),
    Language.GERMAN: (
        ("vermutete Läsion", "wahrscheinliche Raumforderung"),
        ("den Verdacht auf einen Tumor", "Hinweise auf eine Neubildung"),
        ("keinen Tumor", "nichts Auffälliges"),
        ("Kein Tumor", "Unauffällig"),
        ("Es gibt keine sichere Antwort", "Es ist nicht ganz sicher"),
        ("maßgeblich ist der radiologische Befund", "eine Befundung wird angeregt"),
        ("Nicht ausgewertet", "Nicht betrachtet"),
        ("Nur für die Forschung", "Vorwiegend für die Forschung"),
    ),
}
_INVENTED: Final = {
    Language.ENGLISH: (
        "There is marked oedema with midline shift.",
        "A second lesion of 12 mm lies in the cerebellum.",
        "The ventricles are enlarged.",
        "Contrast enhancement is ring-shaped.",
    ),
    Language.GERMAN: (
        "Es besteht ein ausgeprägtes Ödem mit Mittellinienverlagerung.",
        "Eine zweite Läsion von 12 mm liegt im Kleinhirn.",
        "Die Ventrikel sind erweitert.",
        "Die Kontrastmittelaufnahme ist ringförmig.",
    ),
}
_OVERCLAIMS: Final = {
    Language.ENGLISH: (
        "This is a glioblastoma, WHO grade 4.",
        "Surgery within a week is recommended.",
        "Median survival is 15 months.",
        "A tumour is excluded with certainty.",
        "No further imaging is needed.",
    ),
    Language.GERMAN: (
        "Es handelt sich um ein Glioblastom, WHO-Grad 4.",
        "Eine Operation innerhalb einer Woche wird empfohlen.",
        "Die mittlere Überlebenszeit beträgt 15 Monate.",
        "Ein Tumor ist sicher ausgeschlossen.",
        "Weitere Bildgebung ist nicht nötig.",
    ),
}
# Sentences with a place of their own that stand beside each other.
_FIXED: Final = re.compile(
    r"present$|absent$|undetermined$|not_judged$|triage$|first_look$|same_outcome$|other_outcome$|plain_"
)
_CAUTION: Final = (
    "doubt",
    "first_look",
    "tumours_alone",
    "may_be_wrong",
    "extent",
    "research",
    "undetermined",
)
_DIGITS: Final = re.compile(r"\d+")
_SIZE: Final = re.compile(r"\d+ mm")


def wrong_side(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """A lesion on another side."""
    return _replaced(random, text, [(a, b) for a in _SIDES[language] for b in _SIDES[language] if a != b])


def flipped_negation(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """What was denied is said, or the other way round."""
    return _replaced(random, text, _NEGATIONS[language])


def changed_number(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """Another figure in place of one of the text."""
    places = [(n, m) for n, item in enumerate(text) for m in _DIGITS.finditer(item.text)]
    if not places:
        return None
    number, match = random.choice(places)
    other = str(int(match[0]) + random.choice((1, 2, 10, 50)))
    words = text[number].text
    return _with(text, number, words[: match.start()] + other + words[match.end() :])


def changed_unit(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """The same figure in another unit."""
    return _replaced(random, text, _UNITS)


def invented_finding(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """Something that nobody saw, under the name of a true phrase, beside it or in a sentence of its own."""
    return _added(random, text, _INVENTED[language])


def dropped_doubt(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """A sentence of doubt or of limits is left out."""
    cautious = [n for n, item in enumerate(text) if item.phrase.startswith(_CAUTION)]
    if not cautious:
        return None
    dropped = random.choice(cautious)
    return [item for n, item in enumerate(text) if n != dropped]


def overclaim(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """A diagnosis, a treatment, a survival, a certainty."""
    return _added(random, text, _OVERCLAIMS[language])


def wrong_modality(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """CT in place of MR, or MR in place of CT."""
    mr = "MRT" if language is Language.GERMAN else "MR"
    pairs = [("CT", "\0"), (mr, "CT")]
    whole = [[item for item in (_swapped(p.text, pairs, mr),) if item != p.text] for p in text]
    places = [n for n, words in enumerate(whole) if words]
    if not places:
        return None
    number = random.choice(places)
    return _with(text, number, whole[number][0])


def _swapped(words: str, pairs: Sequence[tuple[str, str]], mr: str) -> str:
    """CT and MR change places, unless a sentence names both."""
    if re.search(r"\bCT\b", words) and re.search(rf"\b{mr}\b", words):
        return words
    for old, new in pairs:
        words = re.sub(rf"\b{old}\b", new, words)
    return words.replace("\0", mr)


def mixed_up_lesions(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """The values of two lesions change places, all of them or one."""
    lesions = [n for n, item in enumerate(text) if item.phrase == "lesion"]
    if len(lesions) < 2:
        return None
    one, two = random.sample(lesions, 2)
    if random.random() < 0.5:
        swapped = _with(text, one, text[one].text)
        swapped[one] = replace(text[one], facts=text[two].facts)
        swapped[two] = replace(text[two], facts=text[one].facts)
        return swapped
    sizes = [_SIZE.findall(text[n].text)[0] for n in (one, two)]
    swapped = _with(text, one, text[one].text.replace(sizes[0], sizes[1]))
    return _with(swapped, two, text[two].text.replace(sizes[1], sizes[0]))


def plausible_paraphrase(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """A fact in other words, which nobody can check."""
    return _replaced(random, text, _PARAPHRASES[language])


def misleading_order(random: Random, text: Text, language: Language) -> list[Proposal] | None:
    """Two sentences of the impression, of the limits or of the plain version change places."""
    pairs = [n for n, item in enumerate(text[1:], start=1) if _FIXED.match(item.phrase)]
    pairs = [n for n in pairs if _FIXED.match(text[n - 1].phrase)]
    if not pairs:
        return None
    number = random.choice(pairs)
    return [*text[: number - 1], text[number], text[number - 1], *text[number + 1 :]]


CORRUPTIONS: Final[Mapping[str, Corruption]] = {
    function.__name__: function
    for function in (
        wrong_side,
        flipped_negation,
        changed_number,
        changed_unit,
        invented_finding,
        dropped_doubt,
        overclaim,
        wrong_modality,
        mixed_up_lesions,
        plausible_paraphrase,
        misleading_order,
    )
}


def _with(text: Text, number: int, words: str) -> list[Proposal]:
    changed = list(text)
    changed[number] = replace(text[number], text=words)
    return changed


def _replaced(random: Random, text: Text, pairs: Sequence[tuple[str, str]]) -> list[Proposal] | None:
    """One of the pairs is applied in one of the sentences in which it can be."""
    places = [(n, old, new) for n, item in enumerate(text) for old, new in pairs if old in item.text]
    if not places:
        return None
    number, old, new = random.choice(places)
    return _with(text, number, text[number].text.replace(old, new, 1))


def _added(random: Random, text: Text, sentences: Sequence[str]) -> list[Proposal]:
    """One of the sentences: behind another, in place of it, or by itself under its phrase."""
    number, words = random.randrange(len(text)), random.choice(sentences)
    way = random.randrange(3)
    if way == 0:
        return _with(text, number, f"{text[number].text} {words}")
    if way == 1:
        return _with(text, number, words)
    extra = replace(text[number], text=words)
    return [*text[: number + 1], extra, *text[number + 1 :]]
