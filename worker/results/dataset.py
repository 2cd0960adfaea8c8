"""The modules that all result objects share (identity, series, equipment), and their Part 10 bytes.

No clock and no random numbers here: an object that is built again has the same bytes.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from neurotriage.core.patient import PatientIdentity
from neurotriage.core.summary import Summary
from neurotriage.core.values import (
    SERIES_LABELS,
    Analysis,
    Claims,
    Outcome,
    OverlayStyle,
    Prediction,
    ResultKind,
    ResultObject,
    SeriesLabel,
)
from neurotriage.dicom.headers import MANUFACTURER
from neurotriage.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derived_uid
from worker.results.charset import set_character_set, source_character_set
from worker.results.identity import copy_identity, name_patient

MODEL_NAME = "neurotriage head triage"

# A viewer may show only the newest object of a series of these kinds.
_OWN_SERIES = frozenset(
    {
        ResultKind.OVERLAY_FRAMES,
        ResultKind.OVERLAY_SERIES_FRAMES,
        ResultKind.SEGMENTATION,
        ResultKind.LABELMAP,
        ResultKind.PARAMETRIC_MAP,
    }
)
_OVERLAYS = frozenset(
    {
        ResultKind.OVERLAY,
        ResultKind.OVERLAY_SERIES,
        ResultKind.OVERLAY_FRAMES,
        ResultKind.OVERLAY_SERIES_FRAMES,
    }
)
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")


def showing_text(outcome: Outcome, summary: Summary | None) -> frozenset[ResultKind]:
    """The kinds of object that show the text about a study, or a part of it.

    The page does so only where no picture fills it, or for a second opinion.
    """
    opinion = summary is not None and summary.opinion is not None
    page = [ResultKind.PAGE] if opinion or not outcome.analysed else []
    return frozenset({ResultKind.REPORT, ResultKind.DOCUMENT, *page})


@dataclass(frozen=True, slots=True, eq=False)
class ResultContext:
    """The values that all objects of one analysis share."""

    analysis: Analysis
    study_uid: str
    header: Dataset  # of a source image; patient and study attributes are copied from it
    installation_uid: str
    claims: Claims = Claims.RESEARCH
    labels: Mapping[ResultKind, SeriesLabel] = field(default_factory=lambda: SERIES_LABELS)
    overlay: OverlayStyle = OverlayStyle.HEAT
    rerun: str = ""  # names a further analysis of the same images, whose objects need new UIDs
    patient: PatientIdentity | None = None  # whose the study is, where that was corrected
    summary: Summary | None = None  # the text about the study
    former: Summary | None = None  # the text in whose place it comes
    telling: int = 0  # how many texts about this analysis came before
    retold_at: datetime | None = None  # when this text took the place of another

    def uid(self, kind: ResultKind, *parts: str) -> str:
        """A UID (UUIDv5, PS3.5 B.2) that depends on everything that shapes an object, and on nothing else.

        That is installation, study, digest of the analysed bytes, models, software version, claims, kind,
        series label, overlay style (unless it is ``HEAT``), ``rerun``, what rules of the site decided (where
        one did), and ``parts``.
        """
        analysis, label = self.analysis, self.labels[kind]
        unusual = kind in _OVERLAYS and self.overlay is not OverlayStyle.HEAT
        models = sorted({prediction.sha256 for prediction in analysis.predictions})
        return derived_uid(
            self.installation_uid,
            self.study_uid,
            analysis.input_digest,
            *models,
            analysis.software_version,
            self.claims.value,
            kind.value,
            str(label.number),
            label.description,
            *([self.overlay.value] if unusual else []),
            *filter(None, [self.rerun]),
            *_by_site(analysis),
            *parts,
        )

    def words_of(self, kind: ResultKind) -> Summary | None:
        """The text that an object of this kind shows; None where it shows none."""
        return self.summary if kind in self.showing_text else None

    @property
    def showing_text(self) -> frozenset[ResultKind]:
        """The kinds that show the text, or showed the former one: other objects take their place."""
        outcome = self.analysis.outcome
        return showing_text(outcome, self.summary) | showing_text(outcome, self.former)

    @property
    def made_at(self) -> datetime:
        """When the study was analysed, in the time zone of the source (0008,0201)."""
        return self._local(self.analysis.analysed_at)

    def written_at(self, kind: ResultKind) -> datetime:
        """When an object of this kind came to be: later where its text, or an object that it names, did."""
        follows = kind in self.showing_text or kind is ResultKind.KEY_OBJECTS
        return self._local(self.retold_at) if self.retold_at and follows else self.made_at

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(_zone(self.header, self.analysis.analysed_at))


def _by_site(analysis: Analysis) -> Iterator[str]:
    """What rules of the site decided: the page of a study that they refuse gives their reasons."""
    for verdict in analysis.verdicts:
        if verdict.rule:
            yield from (verdict.series_instance_uid, verdict.rule, verdict.reason.text)


def new_object(
    context: ResultContext, kind: ResultKind, index: int, sop_class_uid: str, modality: str, *parts: str
) -> Dataset:
    """A data set with the modules that all result objects share (PS3.3 C.7 and C.12.1).

    ``index``: 0-based within the kind. ``parts``: further values on which its SOP Instance UID depends, as it
    does on the words that it shows. Objects of the kinds in ``_OWN_SERIES`` have a series each.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = source_character_set(context.header)
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = context.uid(kind, str(index), *parts, *_told(context, kind))
    dataset.InstanceCreatorUID = context.installation_uid
    dataset.StudyInstanceUID = context.study_uid
    copy_identity(context.header, dataset)
    if context.patient is not None:
        name_patient(context.patient, dataset)
    dataset.Modality = modality
    alone = kind in _OWN_SERIES
    told_before = context.telling if kind in context.showing_text else 0
    dataset.InstanceNumber = 1 if alone else index + 1 + told_before
    dataset.SeriesInstanceUID = context.uid(kind, "series", *([str(index)] if alone else []))
    dataset.SeriesNumber = context.labels[kind].number
    dataset.SeriesDescription = context.labels[kind].description
    _set_dates(context, kind, dataset)
    _set_equipment(context, dataset)
    return dataset


def _told(context: ResultContext, kind: ResultKind) -> Iterator[str]:
    """The words that an object shows. The same words told again have another predecessor."""
    words = context.words_of(kind)
    if words is not None:
        yield words.digest
        if context.telling:
            yield f"telling {context.telling}"
        if context.retold_at is not None:  # it stands in the object
            yield context.retold_at.isoformat()


def result_of(dataset: Dataset, kind: ResultKind, index: int) -> ResultObject:
    """A finished data set as a result with its Part 10 bytes; ``index`` is 0-based within the kind."""
    return ResultObject(
        kind=kind,
        index=index,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        data=part10_bytes(dataset),
    )


def decimal(value: float) -> str:
    """A number as a Decimal String of at most 16 characters (PS3.5 6.2). Raises ``ValueError``."""
    for digits in range(15, 5, -1):
        shown = f"{value:.{digits}g}"
        if len(shown) <= 16:
            return shown
    raise ValueError(f"{value} does not fit a Decimal String")


def lossy_history(header: Dataset, dataset: Dataset) -> None:
    """Copy Lossy Image Compression, its ratio and method from the source: it is never undone
    (PS3.3 C.7.6.1.1.5).
    """
    lossy = str(header.get("LossyImageCompression", "")) == "01"
    dataset.LossyImageCompression = "01" if lossy else "00"
    if lossy and "LossyImageCompressionRatio" in header:
        dataset.LossyImageCompressionRatio = header.LossyImageCompressionRatio
    if lossy and "LossyImageCompressionMethod" in header:
        dataset.LossyImageCompressionMethod = header.LossyImageCompressionMethod


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """A code sequence item: Code Value, Coding Scheme Designator, Code Meaning (PS3.3 table 8.8-1)."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def part10_bytes(dataset: Dataset) -> bytes:
    """A whole DICOM file in Explicit VR Little Endian (PS3.10).

    Sets the data set's file meta information, and its character set to UTF-8 where the stated one cannot
    encode all text.
    """
    set_character_set(dataset)
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _zone(header: Dataset, analysed_at: datetime) -> timezone:
    """The source's TimezoneOffsetFromUTC, else the offset that the analysis was timed in."""
    offset = str(header.get("TimezoneOffsetFromUTC", "") or "").strip()
    if not _OFFSET.fullmatch(offset):
        return timezone(analysed_at.utcoffset() or timedelta())
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _set_dates(context: ResultContext, kind: ResultKind, dataset: Dataset) -> None:
    made, written = context.made_at, context.written_at(kind)
    dataset.TimezoneOffsetFromUTC = made.strftime("%z")[:5]
    for name, moment in (("InstanceCreation", written), ("Series", made), ("Content", written)):
        setattr(dataset, f"{name}Date", moment.strftime("%Y%m%d"))
        setattr(dataset, f"{name}Time", moment.strftime("%H%M%S"))


def _set_equipment(context: ResultContext, dataset: Dataset) -> None:
    """Set General Equipment (PS3.3 C.7.5.1) and Contributing Equipment (C.12.1)."""
    analysis = context.analysis
    models = sorted({f"{p.model} {p.version}" for p in analysis.predictions})
    versions = [version[:64] for version in (analysis.software_version, *models)]
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.SoftwareVersions = versions
    dataset.DeviceSerialNumber = context.installation_uid
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([code_item("109102", "DCM", "Processing Equipment")])
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = MODEL_NAME
    item.SoftwareVersions = versions
    item.ContributionDateTime = context.made_at.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = (
        f"Automatic analysis by a research model, not for diagnosis; claims: {context.claims.value}"
    )
    models_apart = {prediction.sha256: prediction for prediction in analysis.predictions}
    dataset.ContributingEquipmentSequence = Sequence(
        [item, *(_model_item(context, models_apart[sha256]) for sha256 in sorted(models_apart))]
    )


def _model_item(context: ResultContext, prediction: Prediction) -> Dataset:
    """A model as a contributing device; its Device UID follows from its weights, at every site alike."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([code_item("109102", "DCM", "Processing Equipment")])
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = prediction.model[:64]
    item.SoftwareVersions = prediction.version[:64]
    item.DeviceUID = derived_uid("neurotriage model", prediction.sha256)
    item.ContributionDateTime = context.made_at.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = f"Model weights sha256 {prediction.sha256}"
    return item
