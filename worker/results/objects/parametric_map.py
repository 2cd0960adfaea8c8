"""Parametric Maps (PS3.3 A.75): the heat maps as 32 bit float, a frame for each slice of their stack.

The frames ascend along the slice normal, so that viewers which build a volume in frame order, without regard
to the positions, build it right.
"""

from collections.abc import Iterator, Sequence

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code
from pydicom.uid import ParametricMapStorage

from neurotriage.core.values import Omission, ResultKind, ResultObject
from worker.results.dataset import ResultContext, code_item, new_object, result_of
from worker.results.objects import multiframe
from worker.results.objects.report import BRAIN
from worker.results.sources.scene import Scene
from worker.results.sources.slices import SourceSlice
from worker.results.wording import text

KIND = ResultKind.PARAMETRIC_MAP
_FRAME_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]


def parametric_maps(context: ResultContext, scene: Scene) -> Iterator[ResultObject | Omission]:
    """One Parametric Map (PS3.3 A.75) per stack with heat maps: float32 in 0..1, 0 on slices without one.

    A stack that cannot be one object (``multiframe.objection``) gives an ``Omission``.
    """
    with_heat = [series for series in scene.stacks() if any(image.key in scene.evidence for image in series)]
    if not with_heat or not context.analysis.outcome.marked:
        yield Omission(KIND, text.nothing_marked(context.analysis, context.claims))
        return
    index = 0
    for series in with_heat:
        refused = multiframe.objection(series) or _size_objection(series)
        if refused:
            yield Omission(KIND, refused)
            continue
        yield _map(context, scene, index, series)
        index += 1


def _size_objection(series: Sequence[SourceSlice]) -> str:
    rows, columns = series[0].header.Rows, series[0].header.Columns
    if rows * columns % 4:
        return f"{rows} x {columns} pixels are no multiple of 4, and viewers fail on such a map"
    return multiframe.size_objection(len(series), rows, columns, bytes_per_pixel=4)


def _map(context: ResultContext, scene: Scene, index: int, series: Sequence[SourceSlice]) -> ResultObject:
    dataset = new_object(context, KIND, index, ParametricMapStorage, series[0].modality)
    dataset.ImageType = _FRAME_TYPE
    dataset.BodyPartExamined = "HEAD"
    dataset.ContentQualification = "RESEARCH"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.ContentLabel = "MODEL_RELEVANCE"
    dataset.ContentDescription = f"Grad-CAM: {text.RELEVANCE_NOTICE}"
    dataset.AcquisitionContextSequence = DicomSequence()
    multiframe.add_frames(dataset, series, series, multiframe.CALCULATED, _shared_groups())
    shape = (len(series), dataset.Rows, dataset.Columns)
    heat = np.zeros(shape, dtype="<f4")
    for place, image in enumerate(series):
        if image.key in scene.evidence:
            heat[place] = np.nan_to_num(scene.evidence[image.key].heat.astype(np.float32))
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = heat.tobytes()
    return result_of(dataset, KIND, index)


def _shared_groups() -> Dataset:
    """Frame type, window, anatomy, and the real world values: 0 to 1, without a unit."""
    shared, kind, window, values, anatomy = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
    kind.FrameType = _FRAME_TYPE
    window.WindowCenter, window.WindowWidth = "0.5", "1"
    # By the default function, LINEAR, a width of 1 is a step (PS3.3 C.11.2.1.2).
    window.VOILUTFunction = "LINEAR_EXACT"
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = DicomSequence([code_item(*BRAIN[:3])])
    values.RescaleIntercept, values.RescaleSlope, values.RescaleType = "0", "1", "US"
    shared.ParametricMapFrameTypeSequence = DicomSequence([kind])
    shared.FrameVOILUTSequence = DicomSequence([window])
    shared.FrameAnatomySequence = DicomSequence([anatomy])
    shared.PixelValueTransformationSequence = DicomSequence([values])
    shared.RealWorldValueMappingSequence = DicomSequence(
        [
            hd.pm.RealWorldValueMapping(
                lut_label="RELEVANCE",
                lut_explanation=text.RELEVANCE_NOTICE,
                unit=Code("1", "UCUM", "no units"),
                value_range=(0.0, 1.0),
                slope=1.0,
                intercept=0.0,
            )
        ]
    )
    return shared
