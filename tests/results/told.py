"""Texts for tests of the objects that show them: every sentence is recognisable, and in no phrase of ours."""

from neurotriage.core.summary import Language, Origin, Section, Sentence, Summary

WORDS = {
    Language.ENGLISH: {
        Section.FINDINGS: ("One place on the left draws the eye.", "It was seen on 5 of 15 slices."),
        Section.IMPRESSION: ("The model leans to one side.", "Nobody has looked at this yet."),
        Section.LIMITS: ("No CT was there to be asked.", "Small things escape it."),
        Section.PLAIN: ("The program saw a spot.", "Only a doctor can say what it is."),
    },
    Language.GERMAN: {
        Section.FINDINGS: ("Eine Stelle links fällt auf.", "Sie war auf 5 von 15 Schichten größer."),
        Section.IMPRESSION: ("Das Modell neigt zu einer Seite.", "Geprüft hat das niemand: Äußerstes Übel?"),
        Section.LIMITS: ("Es lag keine CT vor.", "Kleines entgeht ihm; Öl auf dem Fuß."),
        Section.PLAIN: ("Das Programm sah einen Fleck.", "Nur Ärztinnen und Ärzte können das beurteilen."),
    },
}


def told(
    language: Language = Language.ENGLISH,
    *,
    plain: bool = True,
    origin: Origin = Origin.TEMPLATE,
    author: str = "",
    repeat: int = 1,
) -> Summary:
    """A text in all sections; ``repeat``: how many times each sentence, numbered, is said."""
    return Summary(
        language,
        origin,
        tuple(
            Sentence(section, f"{section}.{place}", ("outcome",), words if n == 0 else f"{n + 1}: {words}")
            for section, sentences in WORDS[language].items()
            if plain or section is not Section.PLAIN
            for n in range(repeat)
            for place, words in enumerate(sentences)
        ),
        author,
    )
