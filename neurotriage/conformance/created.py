"""The contents of the objects that we create, read from sample objects.

Nothing is listed by hand: sample studies go through the same ``worker.results.build`` as any study, and the
tables describe its output.
"""

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.uid import UID

from neurotriage.core.evidence import Evidence
from neurotriage.core.settings import ResultsSettings, SummarySettings
from neurotriage.core.summary import Language
from neurotriage.core.values import Analysis, ObjectReference, Outcome, ResultKind, Side
from neurotriage.dicom.uids import derived_uid
from neurotriage.phantom import STUDIES, TILTED, Made, make_analysis, make_study
from worker.results import build
from worker.summary import tell

# Two patients with every attribute filled, and a study with next to none.
_KNOWN: Final = {
    **STUDIES["talkative"]["header"],
    "PatientName": "Sample^Patient",
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientID": "SAMPLE-2",
    "IssuerOfPatientID": "SITE",
    "PatientBirthDate": "19700101",
    "PatientSex": "M",
    "PatientAge": "056Y",
    "PatientSize": "1.8",
    "PatientWeight": "80",
    "StudyDate": "20260102",
    "StudyTime": "080910",
    "StudyID": "S2",
    "AccessionNumber": "A456",
    "ReferringPhysicianName": "Other^Doc",
    "StudyDescription": "CT head",
    "DeidentificationMethod": "by hand",
    "PositionReferenceIndicator": "OM",
    "LossyImageCompression": "01",
    "LossyImageCompressionRatio": "10",
    "LossyImageCompressionMethod": "ISO_10918_1",
}
_OTHER: Final = {
    "LossyImageCompression": "01",
    "LossyImageCompressionRatio": "20",
    "LossyImageCompressionMethod": "ISO_15444_1",
    "PatientAge": "065Y",
    "PatientSize": "1.6",
    "PatientWeight": "60",
    "DeidentificationMethod": "by profile",
}
_NO_PLACE: Final = ("FrameOfReferenceUID", "SliceThickness")
_LEFT_OUT: Final = {*STUDIES["sparse"]["without"], "StudyDescription", "IssuerOfPatientID"} - {*_NO_PLACE}


@dataclass(frozen=True, slots=True)
class _Study:
    """A sample study, the outcomes for which objects are made, side of its lesion, language of its text."""

    options: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    side: Side
    language: Language = Language.ENGLISH


_STUDIES: Final = {
    "known": _Study(
        {"header": _OTHER},
        (Outcome.PRESENT, Outcome.ABSENT, Outcome.UNDETERMINED, Outcome.NOT_ELIGIBLE),
        Side.LEFT,
    ),
    "other": _Study(
        {"modality": "CT", "header": _KNOWN, "orientation": TILTED, "shape": (120, 128)},
        (Outcome.PRESENT,),
        Side.RIGHT,
        Language.GERMAN,
    ),
    "sparse": _Study(
        {"without": tuple(_LEFT_OUT), "slices": 9}, (Outcome.PRESENT, Outcome.NOT_ELIGIBLE), Side.MIDLINE
    ),
    "without a place": _Study({"without": _NO_PLACE}, (Outcome.PRESENT,), Side.MIDLINE),
}
_EARLIER: Final = (
    ObjectReference("1.2.840.10008.5.1.4.1.1.88.34", "2.25.8", "2.25.9"),
    ObjectReference("1.2.840.10008.5.1.4.1.1.104.1", "2.25.88", "2.25.99"),
)
_SHOWN_CHARACTERS: Final = 64
_NESTED: Final = "SQ"
_BULK: Final = ("OB", "OW", "OF", "OD", "OV", "OL", "UN")
# Their values belong to one study, though the samples may share them.
_NEVER_FIXED: Final = (_NESTED, "UI", "DA", "TM", "DT")
_SOP_CLASS_UID: Final = 0x00080016
_INSTANCE_NUMBER: Final = 0x00200013


Tree = dict[str, "Tree"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a created object, in the words of PS3.2 Annex N."""

    tag: str
    name: str
    keyword: str
    vr: str
    presence: str  # ALWAYS; VNAP: may be empty; ANAP: may be absent; EMPTY: always empty
    source: str  # COPY: from the images; FIXED; AUTO: made for the study
    value: str  # of a FIXED one


@dataclass(frozen=True, slots=True)
class CodedTerm:
    value: str
    scheme: str
    meaning: str
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Created:
    """The contents of one kind of object."""

    kind: ResultKind
    sop_class: UID
    attributes: tuple[Attribute, ...]
    content: tuple[str, ...]  # of a structured report: its tree, a line per item

    @property
    def fixed(self) -> Mapping[str, str]:
        """Values that never change, by keyword."""
        return {a.keyword: a.value for a in self.attributes if a.source == "FIXED"}


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    kind: ResultKind
    source: Dataset
    dataset: Dataset


def created_objects(
    settings: ResultsSettings, text: SummarySettings
) -> tuple[tuple[Created, ...], tuple[CodedTerm, ...]]:
    """The contents of each kind of object, in the order of ``ResultKind``, and the coded terms of all."""
    with tempfile.TemporaryDirectory() as folder:
        samples = list(_samples(Path(folder), settings, text))
    kinds = [kind for kind in ResultKind if any(sample.kind is kind for sample in samples)]
    made = tuple(_created(kind, [s for s in samples if s.kind is kind]) for kind in kinds)
    return made, _terms(samples)


def _samples(folder: Path, settings: ResultsSettings, text: SummarySettings) -> Iterator[_Sample]:
    for name, study in _STUDIES.items():
        spoken = text.model_copy(update={"language": study.language})
        made = make_study(folder / name, **{"shape": (96, 96), "slices": 7, **study.options})
        source = dcmread(made.manifest.series[0].instances[0].path, stop_before_pixels=True)
        for outcome in study.outcomes:
            analysis, evidence = _analysed(name, made, outcome)
            previous = _EARLIER if name == "other" else ()
            for result in build(
                analysis,
                evidence,
                made.manifest,
                derived_uid("sample", name),
                claims=settings.claims,
                kinds=frozenset(ResultKind),
                labels=settings.labels,
                previous=previous,
                summary=tell(analysis, spoken, settings.claims).summary,
            ).objects:
                yield _Sample(ResultKind(result.kind), source, dcmread(io.BytesIO(result.data)))


def _analysed(name: str, made: Made, outcome: Outcome) -> tuple[Analysis, Evidence]:
    """An analysis in which side, model and software differ between samples, as they do between studies."""
    analysis, evidence = make_analysis(made, outcome, software_version=f"of {name}")
    return replace(
        analysis,
        findings=tuple(replace(finding, side=_STUDIES[name].side) for finding in analysis.findings),
        predictions=tuple(replace(p, model=f"model of {name}") for p in analysis.predictions),
    ), evidence


def _created(kind: ResultKind, samples: Sequence[_Sample]) -> Created:
    tags = sorted({element.tag for sample in samples for element in sample.dataset})
    content: Tree = {}
    for sample in samples:
        _merge(sample.dataset, content)
    return Created(
        kind=kind,
        sop_class=UID(samples[0].dataset.SOPClassUID),
        attributes=tuple(_attribute(tag, samples) for tag in tags),
        content=tuple(_lines(content)),
    )


def _attribute(tag: Any, samples: Sequence[_Sample]) -> Attribute:
    elements = [sample.dataset[tag] for sample in samples if tag in sample.dataset]
    some_absent = len(elements) < len(samples)
    empty = [element.is_empty for element in elements]
    presence = "ANAP" if some_absent else "EMPTY" if all(empty) else "VNAP" if any(empty) else "ALWAYS"
    first: DataElement = elements[0]
    source = _source(tag, samples)
    return Attribute(
        tag=f"({tag.group:04X},{tag.element:04X})",
        name=first.name,
        keyword=keyword_for_tag(tag),
        vr=first.VR,
        presence=presence,
        source=source,
        value=_shown(first) if source == "FIXED" else "",
    )


def _source(tag: Any, samples: Sequence[_Sample]) -> str:
    """The source of the values, inferred from their differences between samples."""
    pairs = [(s.source.get(tag), s.dataset[tag]) for s in samples if tag in s.dataset]
    filled = [(theirs, ours) for theirs, ours in pairs if not ours.is_empty]
    if not filled:
        return "-"
    vr = filled[0][1].VR
    values = set() if vr in _BULK else {str(ours.value) for _, ours in filled}
    copied = all(theirs is not None and theirs.value == ours.value for theirs, ours in filled)
    lacking = any(tag not in s.source or s.source[tag].is_empty for s in samples)
    if copied and (len(values) > 1 or lacking):
        return "COPY"
    constant = len(values) == 1 and vr not in _NEVER_FIXED and tag != _INSTANCE_NUMBER
    return "FIXED" if constant or tag == _SOP_CLASS_UID else "AUTO"


def _shown(element: DataElement) -> str:
    if element.is_empty:
        return ""
    values = element.value if element.VM > 1 else [element.value]
    return "\\".join(map(str, values))[:_SHOWN_CHARACTERS]


def _merge(item: Dataset, tree: Tree) -> None:
    """Add the content items of a report to the tree, with their codes and without the values of one study."""
    for child in item.get("ContentSequence", ()):
        name = _code(child.get("ConceptNameCodeSequence"))
        said = _code(child.get("ConceptCodeSequence")) or child.get("GraphicType", "")
        measured = (child.get("MeasuredValueSequence") or [Dataset()])[0]
        unit = _code(measured.get("MeasurementUnitsCodeSequence"))
        template = (child.get("ContentTemplateSequence") or [Dataset()])[0].get("TemplateIdentifier", "")
        words = (
            f"{child.RelationshipType} {child.ValueType}",
            name,
            f"= {said}" if said else "",
            f"in {unit}" if unit else "",
            f"[TID {template}]" if template else "",
        )
        _merge(child, tree.setdefault(" ".join(word for word in words if word), {}))


def _lines(tree: Tree, depth: int = 0) -> Iterator[str]:
    for line, below in tree.items():
        yield f"{'  ' * depth}{line}"
        yield from _lines(below, depth + 1)


def _code(items: Any) -> str:
    return (
        ""
        if not items
        else f"({items[0].CodeValue}, {items[0].CodingSchemeDesignator}, {items[0].CodeMeaning})"
    )


def _terms(samples: Sequence[_Sample]) -> tuple[CodedTerm, ...]:
    kinds: dict[tuple[str, str, str], dict[str, None]] = {}
    for sample in samples:
        for code in _codes(sample.dataset):
            kinds.setdefault(code, {})[sample.kind.value] = None
    return tuple(
        CodedTerm(value, scheme, meaning, tuple(used))
        for (scheme, value, meaning), used in sorted(kinds.items())
    )


def _codes(dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    for item in _items(dataset):
        if "CodeValue" in item and "CodingSchemeDesignator" in item:
            yield item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning


def _items(dataset: Dataset) -> Iterator[Dataset]:
    for element in dataset:
        if element.VR == _NESTED:
            for item in element.value:
                yield item
                yield from _items(item)
