"""Segmentations (PS3.3 A.51): the lesion masks, BINARY for most viewers or as a label map."""

from collections.abc import Iterator, Sequence

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, SegmentationStorage

from neurotriage.core.values import Omission, ResultKind, ResultObject
from worker.results.dataset import ResultContext, new_object, result_of
from worker.results.objects import multiframe
from worker.results.objects.report import ARTIFICIAL_INTELLIGENCE, BRAIN, NEOPLASM
from worker.results.sources.scene import Scene
from worker.results.sources.slices import SourceSlice
from worker.results.wording import text

LABEL_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")  # not in pydicom yet
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
SEGMENT_COLOUR = (38000, 46000, 50000)  # CIELab as unsigned 16 bit (PS3.3 C.10.7.1.1): a warm red


def segmentations(
    context: ResultContext, scene: Scene, kind: ResultKind
) -> Iterator[ResultObject | Omission]:
    """One Segmentation (PS3.3 A.51) per stack with a lesion mask, a frame per slice with a mask.

    ``kind``: ``SEGMENTATION`` (BINARY, one bit per pixel) or ``LABELMAP`` (one byte per pixel). A stack that
    cannot be one object (``multiframe.objection``) gives an ``Omission``.
    """
    masked = [series for series in scene.stacks() if any(map(scene.has_mask, series))]
    if not masked or not context.analysis.outcome.marked:
        yield Omission(kind, text.nothing_marked(context.analysis, context.claims))
        return
    index = 0
    for series in masked:
        refused = multiframe.objection(series)
        if not refused and kind is ResultKind.SEGMENTATION:
            refused = _unaligned(series[0])
        if refused:
            yield Omission(kind, refused)
            continue
        images = [image for image in series if scene.has_mask(image)]
        yield _segmentation(context, scene, kind, index, series, images)
        index += 1


def _unaligned(image: SourceSlice) -> str:
    """The reason for which frames of this matrix cannot be BINARY; empty where they can.

    The bits of all frames are one stream (PS3.5 8.1.1), but archives and viewers start each frame at a byte.
    """
    rows, columns = image.header.Rows, image.header.Columns
    if rows * columns % 8 == 0:
        return ""
    return (
        f"{rows} x {columns} pixels are no multiple of 8, and viewers cannot read such a BINARY "
        "segmentation; seg-labelmap has no such limit"
    )


def _segmentation(
    context: ResultContext,
    scene: Scene,
    kind: ResultKind,
    index: int,
    series: Sequence[SourceSlice],
    images: Sequence[SourceSlice],
) -> ResultObject:
    labels = kind is ResultKind.LABELMAP
    dataset = new_object(context, kind, index, LABEL_MAP_STORAGE if labels else SegmentationStorage, "SEG")
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.BodyPartExamined = "HEAD"
    dataset.ContentLabel = "SUSPECTED_TUMOUR"
    dataset.ContentDescription = "Lesion mask of a research model, not for diagnosis"
    dataset.SegmentationType = "LABELMAP" if labels else "BINARY"
    dataset.SegmentsOverlap = "NO"
    segment = _segment(context, images[0])
    dataset.SegmentSequence = DicomSequence([_background(segment), segment] if labels else [segment])
    each = Dataset()
    if not labels:
        each.SegmentIdentificationSequence = DicomSequence([Dataset()])
        each.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1
    dimensions = () if labels else (_SEGMENT_DIMENSION,)
    multiframe.add_frames(dataset, series, images, multiframe.SEGMENTED, Dataset(), dimensions, each)
    masks = np.stack([scene.evidence[image.key].mask for image in images])
    _set_pixels(dataset, masks, labels)
    return result_of(dataset, kind, index)


_SEGMENT_DIMENSION = ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment")


def _segment(context: ResultContext, image: SourceSlice) -> Dataset:
    """Segment 1 (PS3.3 C.8.20.4): everything that the model outlined."""
    prediction = text.prediction_for(context.analysis, *image.stack_key)
    model = ("unknown", "unknown") if prediction is None else (prediction.model, prediction.version)
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Suspected tumour (AI)",
        segmented_property_category=ABNORMAL,
        segmented_property_type=NEOPLASM,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=model[0], version=model[1], family=ARTIFICIAL_INTELLIGENCE
        ),
        tracking_uid=context.uid(ResultKind.SEGMENTATION, "tracking", *image.stack_names),
        tracking_id="Suspected tumour",
        anatomic_regions=[BRAIN],
    )
    segment.RecommendedDisplayCIELabValue = list(SEGMENT_COLOUR)
    return segment


def _background(segment: Dataset) -> Dataset:
    """Label 0 of a label map."""
    background = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Background",
        segmented_property_category=codes.DCM.Background,
        segmented_property_type=codes.DCM.Background,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=segment.SegmentationAlgorithmIdentificationSequence,
    )
    background.SegmentNumber = 0
    return background


def _set_pixels(dataset: Dataset, masks: NDArray[np.bool_], labels: bool) -> None:
    """Set Pixel Data from masks (frames, rows, columns): bytes, or one stream of bits, first pixel lowest."""
    dataset.BitsAllocated = dataset.BitsStored = 8 if labels else 1
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    if labels:
        dataset.PixelPaddingValue = 0
        data = masks.astype(np.uint8).tobytes()
    else:
        data = np.packbits(masks, axis=None, bitorder="little").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"
