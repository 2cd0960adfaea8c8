"""Rules that refuse an image or a series by its header. One rule per subject; the first that applies decides.

Images are judged first, one by one, by their own values; then the series, by the images that remain. Words
are those of Image Type (PS3.3 C.7.6.1.1.2, C.8.3.1.1.1, C.8.13.3.1.1) and the usual series names of the large
makers.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from neurotriage.core.values import Reason, ReasonCode
from worker.imaging.stacks.kinds import MIN_B_VALUE
from worker.selection.body import BodyPart, body_part, words_of
from worker.selection.facts import SeriesFacts

_SLICE_CLASSES: Final = {
    "CT": frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage}),
    "MR": frozenset({MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage}),
}
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_OWN_NAMES: Final = ("SeriesDescription", "ProtocolName")
_HUMAN: Final = re.compile(r"HOMO SAPIENS|HUMAN", re.IGNORECASE)
_OBJECT_WORDS: Final = frozenset(
    {"PHANTOM", "PHANTOME", "FANTOM", "FANTOMA", "FRUIT", "MELON", "PLASTIC", "BOTTLE"}
)

_LOCALIZER: Final = re.compile(
    r"(?<![A-Z])LOC(?![A-Z])|LOCA(?![A-Z])|LOCALI[SZ]|SCOUT|SURVEY|SURVIEW|TOPOGRAM|SCANO|PILOT|REPERAGE|UBERSICHT"
    r"|SMARTBRAIN|3 ?PL(ANE)?(?![A-Z])"
)
_PERFUSION_NAMED: Final = re.compile(
    r"PERF(?!O)|(?<![A-Z])(P?C?ASL|DSC|PWI|(REL|R)?CB[FV]|MTT|TTP|TMAX|DCE)(?![A-Z])"
)
_PERFUSION_TYPES: Final = frozenset({
    "PERFUSION", "ASL", "CBF", "RCBF", "RELCBF", "CBV", "RCBV", "RELCBV", "MTT", "RELMTT", "TTP", "TMAX",
})  # fmt: skip
_DIFFUSION_NAMED: Final = re.compile(
    r"DIFF|(?<![A-Z])(DWI?|DTI?|E?ADC|HARDI|DSI|DKI|TRACEW?|TENSOR|COLFA)(?![A-Z])|\d+ ?DIR(?![A-Z])"
    r"|(?<![A-Z])DIR ?\d{2,3}(?![A-Z])|(?<![A-Z])B ?\d{3,4}(?!\d)|EP B\d"
)
_DIFFUSION_TYPES: Final = frozenset({
    "DIFFUSION", "ADC", "EADC", "TRACEW", "TRACE", "FA", "TENSOR", "DTI", "DWI", "ISOTROPIC", "EXP",
})  # fmt: skip
_FUNCTIONAL_NAMED: Final = re.compile(r"FMRI|BOLD|RESTING|(?<![A-Z])RS ?FUNC|(?<![A-Z])TASK(?![A-Z])")
_ANGIOGRAPHY_NAMED: Final = re.compile(
    r"(?<![A-Z])(TOF|MRA|MRV|CTA|CTV|PCA)(?![A-Z])|(?<![A-Z])ANGIO(?!M|B)|VENOGR"
)
# Words before PHASE that mean fat and water, or the time after an injection.
_NO_PHASE_MAP: Final = "".join(
    f"(?<!{word})(?<!{word} )"
    for word in (
        "IN", "OUT", "OF", "OPP", "OPPOSED", "ARTERIAL", "VENOUS", "PORTAL", "PARENCHYMAL", "EQUILIBRIUM",
        "DELAYED", "EARLY", "LATE", "NATIVE", "CONTRAST",
    )
)  # fmt: skip
_FIELD_MAP_NAMED: Final = re.compile(
    rf"FIELD ?MAP|GRE FIELD|(?<![A-Z])B[01] ?MAP|{_NO_PHASE_MAP}PHASE(?! ?ENC)|ASSET CAL|CALIB"
    r"|(?<![A-Z])REF SCAN|SHIM|FREQ MAP"
)
_MAP_TYPES: Final = frozenset({
    "MIP", "MINIP", "MIN IP", "MAX IP", "CSA MIP", "PROJECTION IMAGE", "SUB", "SUBTRACT", "SUBTRACTION",
    "SCREEN SAVE", "VRT", "VOLUME RENDERED", "3D_RENDERING", "CPR", "CURVED", "DOSE_INFO",
    "T1 MAP", "T2 MAP", "T2_STAR MAP", "R2 MAP", "QUANTIFIED", "SHADED", "FUSED",
})  # fmt: skip
_MAP_NAMED: Final = re.compile(
    r"(?<![A-Z])(MIP|MINIP|VRT|CPR|SUB|SUBTRACTION)(?![A-Z])|RENDER|COLOU?R|DOSE (REP|INFO)"
    r"|(?<![A-Z])T[12] MAP"
)
# Fewer positions than this are no volume whose repetition would be a time series.
_MIN_PLACES_IN_TIME: Final = 3
# Two passes may be a copy (sent again, or with and without normalization). A few more are phases of one
# examination, of which one is analysed, if an attribute distinguishes them; else, or beyond, a time series.
_COPIES: Final = 2
_MAX_PHASES: Final = 8
_IN_TIME: Final = "a functional or other time series"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason for which a rule refuses, and the attribute with the value that decided."""

    reason: Reason
    evidence: str
    by_words: bool = False  # of a name or a body part, which people write; a rule of the site may overrule it


Rule = Callable[[SeriesFacts], Refusal | None]


def refusal_of_image(facts: SeriesFacts) -> Refusal | None:
    """The refusal of one image by its own values; None if it may be part of a stack."""
    return _first(IMAGE_RULES, facts)


def refusal_of(facts: SeriesFacts) -> Refusal | None:
    """The refusal of a series by the values of its images; None if it may be analysed."""
    return _first(SERIES_RULES, facts)


def final_refusal_of(facts: SeriesFacts) -> Refusal | None:
    """As ``refusal_of``, without the refusals by words."""
    refusals = (rule(facts) for rule in SERIES_RULES)
    return next((refusal for refusal in refusals if refusal is not None and not refusal.by_words), None)


def _first(rules: tuple[Rule, ...], facts: SeriesFacts) -> Refusal | None:
    return next((refusal for rule in rules if (refusal := rule(facts)) is not None), None)


def _unread(facts: SeriesFacts) -> Refusal | None:
    """A file whose header cannot be read."""
    if facts.image_types or facts.problem is None:
        return None
    return Refusal(facts.problem, "the header")


def _own_result(facts: SeriesFacts) -> Refusal | None:
    """A result of ours, unless its SOP Class is that of a scanner's slice, whatever its Manufacturer says."""
    slices = frozenset().union(*_SLICE_CLASSES.values())
    if not facts.own_result or facts.sop_class_uids & slices:
        return None
    return _refusal(ReasonCode.OWN_RESULT, "a result that neurotriage made", "(0008,0070) Manufacturer")


def _sop_class(facts: SeriesFacts) -> Refusal | None:
    classes = ", ".join(sorted(facts.sop_class_uids))
    evidence = f"(0008,0016) SOPClassUID = {classes}"
    if any(uid.startswith(_SECONDARY_CAPTURE) for uid in facts.sop_class_uids):
        return _refusal(ReasonCode.SECONDARY_CAPTURE, "a secondary capture, not an acquired slice", evidence)
    if facts.modality not in _SLICE_CLASSES:
        modality = f"modality {facts.modality}" if facts.modality else "no modality"
        evidence = f"(0008,0060) Modality = {facts.modality}; {evidence}"
        return _refusal(ReasonCode.OTHER_MODALITY, f"{modality}; CT and MR are analysed", evidence)
    if not facts.sop_class_uids <= _SLICE_CLASSES[facts.modality]:
        sentence = f"not {facts.modality} image objects, though the modality says so"
        return _refusal(ReasonCode.NOT_AN_IMAGE, sentence, evidence)
    return None


def _no_pixels(facts: SeriesFacts) -> Refusal | None:
    if facts.has_pixels:
        return None
    return _refusal(ReasonCode.NO_PIXELS, "the images hold no pixel data", "(7FE0,0010) PixelData is absent")


def _colour(facts: SeriesFacts) -> Refusal | None:
    photometric = facts.photometric
    if not facts.colour and (not photometric or photometric.startswith("MONOCHROME")):
        return None
    evidence = f"(0028,0004) PhotometricInterpretation = {photometric}"
    return _refusal(ReasonCode.COLOUR, "a colour picture, not a grey slice", evidence)


def _not_a_human(facts: SeriesFacts) -> Refusal | None:
    species = facts.texts.get("PatientSpeciesDescription", "")
    if species and not _HUMAN.search(species):
        evidence = f"(0010,2201) PatientSpeciesDescription = {species}"
        return _refusal(ReasonCode.NOT_A_HUMAN, "an animal by its header", evidence)
    if facts.texts.get("PatientBreedDescription"):
        return _refusal(
            ReasonCode.NOT_A_HUMAN, "an animal by its header", "(0010,2292) PatientBreedDescription"
        )
    for name in ("PatientID", "StudyDescription", "SeriesDescription", "ProtocolName"):
        words = _OBJECT_WORDS.intersection(words_of(facts.texts.get(name, "")))
        if words:
            sentence = "a phantom or an object by its header"
            return Refusal(
                Reason(ReasonCode.NOT_A_HUMAN, sentence), f"{name} has the word {min(words)}", by_words=True
            )
    return None


def _localizer(facts: SeriesFacts) -> Refusal | None:
    sentence = "a localizer, not a diagnostic image"
    if "LOCALIZER" in facts.type_words:
        return _refusal(ReasonCode.LOCALIZER, sentence, _type_evidence(facts))
    return _by_name(facts, _LOCALIZER, ReasonCode.LOCALIZER, sentence, ("ScanOptions",))


def _mosaic(facts: SeriesFacts) -> Refusal | None:
    if not facts.type_words & {"MOSAIC", "VFRAME"}:
        return None
    return _refusal(ReasonCode.MOSAIC, "many slices tiled in one picture", _type_evidence(facts))


def _perfusion(facts: SeriesFacts) -> Refusal | None:
    sentence = "a perfusion series or map"
    if facts.type_words & _PERFUSION_TYPES:
        return _refusal(ReasonCode.PERFUSION, sentence, _type_evidence(facts))
    if facts.modality == "CT" and "4D" in words_of(facts.texts.get("SeriesDescription", "")):
        evidence = _text_evidence(facts, "SeriesDescription")
        return Refusal(Reason(ReasonCode.PERFUSION, "a CT series over time"), evidence, by_words=True)
    return _by_name(facts, _PERFUSION_NAMED, ReasonCode.PERFUSION, sentence)


def _diffusion(facts: SeriesFacts) -> Refusal | None:
    sentence = "a diffusion series or map"
    if facts.modality != "MR":
        return None
    if max(facts.b_values, default=0.0) >= MIN_B_VALUE:
        evidence = f"(0018,9087) DiffusionBValue up to {max(facts.b_values):.0f}"
        return _refusal(ReasonCode.DIFFUSION, sentence, evidence)
    if facts.type_words & _DIFFUSION_TYPES:
        return _refusal(ReasonCode.DIFFUSION, sentence, _type_evidence(facts))
    return _by_name(facts, _DIFFUSION_NAMED, ReasonCode.DIFFUSION, sentence, ("SequenceName",))


def _functional(facts: SeriesFacts) -> Refusal | None:
    if facts.type_words & {"FMRI", "BOLD"}:
        return _refusal(ReasonCode.FUNCTIONAL, _IN_TIME, _type_evidence(facts))
    return _by_name(facts, _FUNCTIONAL_NAMED, ReasonCode.FUNCTIONAL, _IN_TIME)


def _time_series(facts: SeriesFacts) -> Refusal | None:
    if facts.temporal_positions > _MAX_PHASES or _in_time(facts):
        evidence = f"{facts.places * facts.passes} images at {facts.places} places (0020,0032)"
        return _refusal(ReasonCode.FUNCTIONAL, _IN_TIME, evidence)
    return None


def _in_time(facts: SeriesFacts) -> bool:
    most = _MAX_PHASES if facts.keyed else _COPIES
    return facts.places >= _MIN_PLACES_IN_TIME and facts.passes > most


def _angiography(facts: SeriesFacts) -> Refusal | None:
    sentence = "an angiography"
    if facts.texts.get("AngioFlag", "").upper() == "Y":
        return _refusal(ReasonCode.ANGIOGRAPHY, sentence, "(0018,0025) AngioFlag = Y")
    return _by_name(facts, _ANGIOGRAPHY_NAMED, ReasonCode.ANGIOGRAPHY, sentence)


def _field_map(facts: SeriesFacts) -> Refusal | None:
    sentence = "a field, phase or calibration map"
    if facts.components <= {"phase", "real", "imaginary"} and facts.modality == "MR":
        return _refusal(ReasonCode.FIELD_MAP, sentence, _type_evidence(facts))
    if facts.modality != "MR":
        return None
    return _by_name(facts, _FIELD_MAP_NAMED, ReasonCode.FIELD_MAP, sentence)


def _derived(facts: SeriesFacts) -> Refusal | None:
    """Maps and projections; not all DERIVED images, which include reformatted and recompressed slices."""
    sentence = "a derived map or projection"
    if facts.type_words & _MAP_TYPES:
        return _refusal(ReasonCode.DERIVED, sentence, _type_evidence(facts))
    return _by_name(facts, _MAP_NAMED, ReasonCode.DERIVED, sentence)


def _other_body_part(facts: SeriesFacts) -> Refusal | None:
    part, evidence = body_part(facts)
    if part is not BodyPart.OTHER:
        return None
    sentence = "another part of the body by its header"
    return Refusal(Reason(ReasonCode.OTHER_BODY_PART, sentence), evidence, by_words=True)


def _no_geometry(facts: SeriesFacts) -> Refusal | None:
    if facts.placed:
        return None
    if facts.problem is None:
        return _refusal(ReasonCode.NO_GEOMETRY, "no image has a position", "(0020,0032) ImagePositionPatient")
    return Refusal(facts.problem, "(0020,0032) ImagePositionPatient, (0020,0037) ImageOrientationPatient")


def _same_uid(facts: SeriesFacts) -> Refusal | None:
    if facts.problem is None or facts.problem.code is not ReasonCode.SAME_UID:
        return None
    return Refusal(facts.problem, "(0008,0018) SOPInstanceUID")


def _no_calibration(facts: SeriesFacts) -> Refusal | None:
    return None if facts.uncalibrated is None else Refusal(facts.uncalibrated, "(0028,1052), (0028,1053)")


# Rules for one image do not use its texts, which describe the series.
IMAGE_RULES: Final[tuple[Rule, ...]] = (
    _unread, _own_result, _sop_class, _no_pixels, _colour, _localizer, _mosaic, _perfusion, _diffusion,
    _functional, _derived, _no_geometry, _same_uid, _no_calibration,
)  # fmt: skip
SERIES_RULES: Final[tuple[Rule, ...]] = (
    _not_a_human, _localizer, _mosaic, _perfusion, _diffusion, _functional, _time_series, _angiography,
    _field_map, _derived, _other_body_part,
)  # fmt: skip
# Images refused for these reasons are no slices of the head, so that nothing is missed without them.
ALIEN: Final = frozenset({
    ReasonCode.OWN_RESULT, ReasonCode.SECONDARY_CAPTURE, ReasonCode.OTHER_MODALITY, ReasonCode.NOT_AN_IMAGE,
    ReasonCode.COLOUR, ReasonCode.LOCALIZER, ReasonCode.MOSAIC, ReasonCode.PERFUSION, ReasonCode.DIFFUSION,
    ReasonCode.FUNCTIONAL, ReasonCode.DERIVED,
})  # fmt: skip
# Acquisitions of these kinds include images that do not state their kind, such as b = 0.
TOGETHER: Final = frozenset({ReasonCode.DIFFUSION, ReasonCode.PERFUSION, ReasonCode.FUNCTIONAL})


def _by_name(
    facts: SeriesFacts,
    pattern: re.Pattern[str],
    code: ReasonCode,
    sentence: str,
    more: tuple[str, ...] = (),
) -> Refusal | None:
    """By the names of the series alone: Study Description, and a CT's protocol, describe all series."""
    described = bool(facts.texts.get("SeriesDescription"))
    own = ("SeriesDescription",) if facts.modality == "CT" and described else _OWN_NAMES
    for name in (*own, *more):
        if pattern.search(" ".join(words_of(facts.texts.get(name, "")))):
            return Refusal(Reason(code, sentence), _text_evidence(facts, name), by_words=True)
    return None


def _text_evidence(facts: SeriesFacts, name: str) -> str:
    return f"{name} = {facts.texts[name]}"


def _type_evidence(facts: SeriesFacts) -> str:
    kinds = ", ".join("\\".join(values) for values in sorted(facts.image_types))
    return f"(0008,0008) ImageType = {kinds}"


def _refusal(code: ReasonCode, sentence: str, evidence: str) -> Refusal:
    return Refusal(Reason(code, sentence), evidence)
