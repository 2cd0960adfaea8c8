"""The German phrases."""

from typing import Final

from neurotriage.core.second_opinion import Verdict
from neurotriage.core.values import Outcome, Side, Triage
from worker.summary.phrases.vocabulary import Vocabulary
from worker.summary.values import Kind, Noun

_FINDINGS: Final = {
    "coverage": (
        "Vom Modell beurteilt: {slices} aus {series} ({modalities}).",
        "Das Modell hat {slices} aus {series} beurteilt ({modalities}).",
    ),
    "nothing_found": (
        "Auf den beurteilten Schichten hat das Modell keinen Tumor gefunden.",
        "Das Modell hat auf den beurteilten Schichten keinen Tumor gefunden.",
    ),
    "only_lesion": (
        "Eine vermutete Läsion {side}, größte Ausdehnung {size}, {slices} ({series}).",
        "Das Modell umrandet eine vermutete Läsion {side}, größte Ausdehnung {size}, {slices} ({series}).",
    ),
    "lesions": ("Es besteht Verdacht auf {lesions}.", "Das Modell umrandet {lesions}."),
    "lesion": (
        "Läsion {number}: {side}, größte Ausdehnung {size}, {slices} ({series}).",
        "Läsion {number} liegt {side}, misst {size} und ist zu sehen auf: {slices} ({series}).",
    ),
    "one_more_lesion": ("Umrandet ist außerdem {lesions}.",),
    "more_lesions": ("Umrandet sind außerdem {lesions}.",),
    "other_series_marked": ("Umrandete Läsionen außerdem auf {series}.",),
    "no_outline": ("Es konnte kein Umriss gezeichnet werden.",),
    "place_not_reported": ("Ort und Art des vermuteten Tumors werden nicht mitgeteilt.",),
    "probability": (
        "Wahrscheinlichkeit eines Tumors nach dem Modell: {probability}.",
        "Das Modell gibt die Wahrscheinlichkeit eines Tumors mit {probability} an.",
    ),
    "kind": (
        "Nach dem Modell ist der vermutete Tumor eher {kind} ({share}); ohne Gewebebefund.",
        "Das Modell hält den vermuteten Tumor eher für {kind} ({share}); ohne Gewebebefund.",
    ),
    "look_alike": (
        "Wahrscheinlichkeit von Blutung, Infarkt oder chirurgischem Clip nach dem Modell: {probability}.",
    ),
    "opinion_agrees": ("Ein zweites Modell (nur ein Hinweis) sah Bilder und stimmt zu ({confidence}).",),
    "opinion_other_answer": (
        "Ein zweites Modell (nur ein Hinweis) sah Bilder und widerspricht: {verdict} ({confidence}).",
    ),
    "opinion_other_side": (
        "Ein zweites Modell (nur ein Hinweis) sah Bilder und sieht einen Tumor {side} ({confidence}).",
    ),
    "opinion_unsure": ("Ein zweites Modell (nur ein Hinweis) sah Bilder und ist unsicher.",),
    "opinion_alone": ("Ein zweites Modell (nur ein Hinweis) sah Bilder und sagt {verdict} ({confidence}).",),
    "modality_missing": (
        "Es wurde keine {modality} ausgewertet.",
        "Es gibt keine ausgewertete {modality}.",
    ),
    "one_series_refused": ("Nicht ausgewertet: {count}.",),
    "series_refused": ("Nicht ausgewertet: {count}.",),
    "one_image_left_out": ("Aus ausgewerteten Serien ausgelassen: {count}.",),
    "images_left_out": ("Aus ausgewerteten Serien ausgelassen: {count}.",),
    "one_limitation": ("Beim Ergebnis steht {count} dieser Auswertung.",),
    "limitations": ("Beim Ergebnis stehen {count} dieser Auswertung.",),
}

_DOUBTS: Final = {
    "doubt_no_safe_answer": (
        "Die Antwort des Modells liegt zwischen Tumor und keinem Tumor, oder keine Läsion stützt sie.",
    ),
    "doubt_look_alike": ("Etwas ist auffällig, das kein Tumor sein muss.",),
    "doubt_too_few_slices": ("Für eine Antwort ist zu wenig vom Kopf abgebildet.",),
    "doubt_too_coarse": ("Für eine Antwort sind die Bilder zu grob.",),
    "doubt_out_of_distribution": ("Die Bilder weichen von denen ab, mit denen das Modell trainiert wurde.",),
    "doubt_part_not_analysed": ("Ein Teil der Untersuchung konnte nicht ausgewertet werden.",),
    "doubt_missing_images": ("Es fehlen nachweislich Bilder der Untersuchung.",),
    "doubt_no_calibration": ("Die Werte der Bildpunkte sind nicht kalibriert.",),
    "doubt_no_geometry": ("Die Bilder sagen nicht, wo sie liegen.",),
    "doubt_inconsistent_geometry": ("Die Lagen der Bilder widersprechen sich.",),
    "doubt_header_contradicts_pixels": ("Die DICOM-Header sprechen für einen Kopf, die Bilddaten nicht.",),
    "doubt_identity_conflict": ("Die Bilder nennen mehr als einen Patienten.",),
    "doubt_images_withdrawn": ("Die Bilder wurden zurückgezogen.",),
    "doubt_no_model": ("Für diese Bilder ist kein Modell installiert.",),
    "doubt_no_head_series": ("Die Untersuchung enthält keine auswertbare CT oder MRT des Kopfes.",),
    "doubt_not_a_head": ("Die Bildpunkte zeigen keinen Kopf.",),
    "doubt_noise": ("Die Bildpunkte zeigen Rauschen.",),
    "doubt_unreadable_pixels": ("Die Bildpunkte sind nicht lesbar.",),
    "doubt_refused_by_site": ("Eine Regel des Hauses hat die Bilder abgelehnt.",),
    "doubt_attempts_exhausted": ("Die Software ist bei jedem Versuch gescheitert.",),
    "doubt_internal_error": ("Die Software ist gescheitert.",),
    "doubt_other": ("Die Gründe stehen bei den Serien des Ergebnisses.",),
}

_IMPRESSION: Final = {
    "present": (
        "Das Modell äußert den Verdacht auf einen Tumor.",
        "Verdacht auf einen Tumor nach dem Modell.",
    ),
    "absent": (
        "Das Modell hat keinen Tumor gefunden, was eine Erkrankung nicht ausschließt.",
        "Kein Tumor nach dem Modell. Das schließt eine Erkrankung nicht aus.",
    ),
    "undetermined": (
        "Unbestimmt: Es gibt keine sichere Antwort, weder für noch gegen einen Tumor.",
        "Es gibt keine sichere Antwort. Das spricht weder für noch gegen einen Tumor.",
    ),
    "may_be_look_alike": ("Es kann eine Blutung, ein Infarkt oder ein chirurgischer Clip sein.",),
    "not_judged": (
        "Nicht ausgewertet, was weder für noch gegen einen Tumor spricht.",
        "Kein Modell hat die Untersuchung beurteilt. Das spricht weder für noch gegen einen Tumor.",
    ),
    "triage": ("Triage: {triage}.",),
    "first_look": ("Dies ist ein erster Blick, bevor alle Bilder der Untersuchung da waren.",),
    "same_outcome": ("Ein früheres Ergebnis dieser Untersuchung lautete ebenso: {outcome}.",),
    "other_outcome": ("Ein früheres Ergebnis dieser Untersuchung lautete anders: {outcome}.",),
}

_LIMITS: Final = {
    "tumours_alone": ("Das Modell sucht nur Tumoren; andere Erkrankungen können übersehen werden.",),
    "may_be_wrong": (
        "Das Modell kann Tumoren übersehen und Fehlalarme geben; maßgeblich ist der radiologische Befund.",
    ),
    "training": (
        "Das Modell wurde an einer begrenzten Zahl von Untersuchungen trainiert; bei anderen Geräten und "
        "Patienten kann es anders sein.",
        "Bei anderen Geräten und Patienten, als das Modell sie im Training sah, kann es anders sein.",
    ),
    "extent": ("Umriss und Größe stammen vom Modell und zeigen nicht, wie weit ein Tumor reicht.",),
    "models": ("Modelle: {models}.",),
    "research": ("Nur für die Forschung, nicht zur Diagnose: Keine Behandlung darf sich darauf stützen.",),
}

_PLAIN: Final = {
    "plain_present": (
        "Ein Computerprogramm hat auf den Bildern des Kopfes etwas gesehen, das wie ein Tumor aussehen kann. "
        "Das ist keine Diagnose, und solche Programme geben auch Fehlalarme.",
    ),
    "plain_absent": (
        "Ein Computerprogramm hat auf den Bildern des Kopfes nichts gesehen, das ihm wie ein Tumor aussieht. "
        "Es kann einen Tumor übersehen und sucht nicht nach anderen Erkrankungen.",
    ),
    "plain_undetermined": (
        "Ein Computerprogramm konnte nicht erkennen, ob auf den Bildern des Kopfes ein Tumor ist. "
        "Das spricht weder für einen Tumor noch dagegen.",
    ),
    "plain_not_judged": (
        "Ein Computerprogramm konnte die Bilder dieser Untersuchung nicht ansehen. "
        "Das spricht weder für einen Tumor noch dagegen.",
    ),
    "plain_first_look": ("Es sah sie an, bevor alle Bilder da waren; eine andere Antwort kann folgen.",),
    "plain_decides": ("Alle Bilder werden radiologisch befundet, und dieser Befund gilt.",),
}

GERMAN: Final = Vocabulary(
    phrases=_FINDINGS | _DOUBTS | _IMPRESSION | _LIMITS | _PLAIN,
    nouns={
        Noun.SLICE: ("Schicht", "Schichten"),
        Noun.SERIES: ("Serie", "Serien"),
        Noun.LESION: ("Läsion", "Läsionen"),
        Noun.IMAGE: ("Bild", "Bilder"),
        Noun.LIMITATION: ("Einschränkung", "Einschränkungen"),
    },
    sides={Side.LEFT: "links", Side.RIGHT: "rechts", Side.MIDLINE: "in der Mittellinie"},
    kinds={Kind.BENIGN: "gutartig", Kind.MALIGNANT: "bösartig"},
    verdicts={Verdict.TUMOUR: "Tumor", Verdict.NO_TUMOUR: "kein Tumor", Verdict.UNSURE: "unsicher"},
    triages={
        Triage.URGENT: "dringend",
        Triage.PRIORITY: "vorrangig",
        Triage.ROUTINE: "Routine",
        Triage.NONE: "keine",
    },
    outcomes={
        Outcome.PRESENT: "Verdacht auf Tumor",
        Outcome.ABSENT: "kein Tumor gefunden",
        Outcome.UNDETERMINED: "unbestimmt",
        Outcome.POOR_QUALITY: "nicht ausgewertet, schlechte Bildqualität",
        Outcome.INCOMPLETE: "nicht ausgewertet, Bilder fehlen",
        Outcome.NOT_ELIGIBLE: "nicht ausgewertet, nicht geeignet",
        Outcome.FAILED: "nicht ausgewertet, Softwarefehler",
    },
    modalities={"MR": "MRT"},
    joint=" und ",
    one_slice="Schicht {first}",
    slice_range="Schichten {first}-{last}",
    of_stack=" von {count}",
    series="{modality}, ausgewertete Serie {number} von {of}",
    threshold="Schwelle {percent}",
    just_below="knapp unter der Schwelle",
    just_above="knapp über der Schwelle",
)
