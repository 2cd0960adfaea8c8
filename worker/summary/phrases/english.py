"""The English phrases."""

from typing import Final

from neurotriage.core.second_opinion import Verdict
from neurotriage.core.values import Outcome, Side, Triage
from worker.summary.phrases.vocabulary import Vocabulary
from worker.summary.values import Kind, Noun

_FINDINGS: Final = {
    "coverage": (
        "Judged by the model: {slices} of {series} ({modalities}).",
        "The model judged {slices} of {series} ({modalities}).",
    ),
    "nothing_found": (
        "The model found no tumour on the slices that it judged.",
        "No tumour was found by the model on the slices that it judged.",
    ),
    "only_lesion": (
        "One suspected lesion {side}, {size} across, on {slices} ({series}).",
        "The model outlines one suspected lesion {side}, {size} across, on {slices} ({series}).",
    ),
    "lesions": ("{lesions} are suspected.", "The model outlines {lesions}."),
    "lesion": (
        "Lesion {number}: {side}, {size} across, on {slices} ({series}).",
        "Lesion {number} lies {side}, is {size} across and is seen on {slices} ({series}).",
    ),
    "one_more_lesion": ("{lesions} is outlined besides.",),
    "more_lesions": ("{lesions} are outlined besides.",),
    "other_series_marked": ("Lesions are also outlined on {series} besides the one described.",),
    "no_outline": ("No outline could be drawn.",),
    "place_not_reported": ("Where the suspected tumour may be and of what kind is not reported.",),
    "probability": (
        "Probability of tumour by the model: {probability}.",
        "The model gives a probability of tumour of {probability}.",
    ),
    "kind": (
        "By the model the suspected tumour is more likely {kind} ({share}); no tissue confirms this.",
        "The model rates the suspected tumour as more likely {kind} ({share}); no tissue confirms this.",
    ),
    "look_alike": ("Probability of a bleed, an infarct or a surgical clip by the model: {probability}.",),
    "opinion_agrees": ("A second model (advice only) was shown a few slices and agrees ({confidence}).",),
    "opinion_other_answer": (
        "A second model (advice only) was shown a few slices and disagrees: {verdict} ({confidence}).",
    ),
    "opinion_other_side": (
        "A second model (advice only) was shown a few slices and sees a tumour {side} ({confidence}).",
    ),
    "opinion_unsure": ("A second model (advice only) was shown a few slices and is unsure.",),
    "opinion_alone": (
        "A second model (advice only) was shown a few slices and says {verdict} ({confidence}).",
    ),
    "modality_missing": ("No {modality} was analysed.", "There is no analysed {modality}."),
    "one_series_refused": ("{count} was not analysed.",),
    "series_refused": ("{count} were not analysed.",),
    "one_image_left_out": ("{count} of an analysed series was left out.",),
    "images_left_out": ("{count} of analysed series were left out.",),
    "one_limitation": ("{count} of this analysis is listed beside the result.",),
    "limitations": ("{count} of this analysis are listed beside the result.",),
}

_DOUBTS: Final = {
    "doubt_no_safe_answer": (
        "The model's answer lies between tumour and no tumour, or no lesion supports it.",
    ),
    "doubt_look_alike": ("Something looks wrong that may not be a tumour.",),
    "doubt_too_few_slices": ("Not enough of the head was imaged for an answer.",),
    "doubt_too_coarse": ("The images are too coarse for an answer.",),
    "doubt_out_of_distribution": ("The images differ from those that the model was trained on.",),
    "doubt_part_not_analysed": ("A part of the study could not be analysed.",),
    "doubt_missing_images": ("Images of the study are known to be missing.",),
    "doubt_header_contradicts_pixels": ("The headers say that it is a head, the pixels do not.",),
    "doubt_no_calibration": ("The values of the pixels are not calibrated.",),
    "doubt_no_geometry": ("The images do not say where they lie.",),
    "doubt_inconsistent_geometry": ("The positions of the images contradict each other.",),
    "doubt_identity_conflict": ("The images name more than one patient.",),
    "doubt_images_withdrawn": ("The images were withdrawn.",),
    "doubt_no_model": ("No model is installed for these images.",),
    "doubt_no_head_series": ("The study holds no head CT or MR to analyse.",),
    "doubt_not_a_head": ("The pixels show no head.",),
    "doubt_noise": ("The pixels show noise.",),
    "doubt_unreadable_pixels": ("The pixels cannot be read.",),
    "doubt_refused_by_site": ("A rule of the site refused the images.",),
    "doubt_attempts_exhausted": ("The software failed each time it tried.",),
    "doubt_internal_error": ("The software failed.",),
    "doubt_other": ("The reasons are given with the series of the result.",),
}

_IMPRESSION: Final = {
    "present": ("Tumour suspected by the model.", "The model suspects a tumour."),
    "absent": (
        "No tumour found by the model, which does not rule out disease.",
        "The model found no tumour. This does not rule out disease.",
    ),
    "undetermined": (
        "Undetermined: there is no safe answer, neither for nor against a tumour.",
        "There is no safe answer. This speaks neither for nor against a tumour.",
    ),
    "may_be_look_alike": ("It may be a bleed, an infarct or a surgical clip.",),
    "not_judged": (
        "Not analysed, which speaks neither for nor against a tumour.",
        "No model judged this study. This speaks neither for nor against a tumour.",
    ),
    "triage": ("Triage: {triage}.",),
    "first_look": ("This is a first look, made before all images of the study had come.",),
    "same_outcome": ("An earlier result of this study had the same outcome: {outcome}.",),
    "other_outcome": ("An earlier result of this study had another outcome: {outcome}.",),
}

_LIMITS: Final = {
    "tumours_alone": ("The model looks for tumours alone; other disease may be missed.",),
    "may_be_wrong": ("The model can miss tumours and raise false alarms; the radiologist's report decides.",),
    "training": (
        "The model was trained on a limited number of studies; other scanners and patients may differ.",
        "Other scanners and patients may differ from the few studies that the model was trained on.",
    ),
    "extent": ("Outline and size come from the model and do not show how far a tumour extends.",),
    "models": ("Models: {models}.",),
    "research": ("Research use only, not for diagnosis: no treatment may rest on this.",),
}

_PLAIN: Final = {
    "plain_present": (
        "A computer program saw something in the pictures of the head that can look like a tumour. "
        "This is not a diagnosis, and such programs raise false alarms.",
    ),
    "plain_absent": (
        "A computer program saw nothing in the pictures of the head that looks like a tumour to it. "
        "It can miss a tumour, and it does not look for other disease.",
    ),
    "plain_undetermined": (
        "A computer program could not tell whether there is a tumour in the pictures of the head. "
        "That speaks neither for a tumour nor against one.",
    ),
    "plain_not_judged": (
        "A computer program could not look at the pictures of this examination. "
        "That speaks neither for a tumour nor against one.",
    ),
    "plain_first_look": ("It looked before all pictures had come; another answer may follow.",),
    "plain_decides": ("A radiologist looks at all pictures, and what the radiologist says counts.",),
}

ENGLISH: Final = Vocabulary(
    phrases=_FINDINGS | _DOUBTS | _IMPRESSION | _LIMITS | _PLAIN,
    nouns={
        Noun.SLICE: ("slice", "slices"),
        Noun.SERIES: ("series", "series"),
        Noun.LESION: ("lesion", "lesions"),
        Noun.IMAGE: ("image", "images"),
        Noun.LIMITATION: ("limitation", "limitations"),
    },
    sides={Side.LEFT: "on the left", Side.RIGHT: "on the right", Side.MIDLINE: "in the midline"},
    kinds={Kind.BENIGN: "benign", Kind.MALIGNANT: "malignant"},
    verdicts={Verdict.TUMOUR: "tumour", Verdict.NO_TUMOUR: "no tumour", Verdict.UNSURE: "unsure"},
    triages={
        Triage.URGENT: "urgent",
        Triage.PRIORITY: "priority",
        Triage.ROUTINE: "routine",
        Triage.NONE: "none",
    },
    outcomes={
        Outcome.PRESENT: "tumour suspected",
        Outcome.ABSENT: "no tumour found",
        Outcome.UNDETERMINED: "undetermined",
        Outcome.POOR_QUALITY: "not analysed, poor quality",
        Outcome.INCOMPLETE: "not analysed, images missing",
        Outcome.NOT_ELIGIBLE: "not analysed, not eligible",
        Outcome.FAILED: "not analysed, software failure",
    },
    modalities={},
    joint=" and ",
    one_slice="slice {first}",
    slice_range="slices {first}-{last}",
    of_stack=" of {count}",
    series="{modality}, analysed series {number} of {of}",
    threshold="threshold {percent}",
    just_below="just below the threshold",
    just_above="just above the threshold",
)
