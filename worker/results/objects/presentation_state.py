"""Grayscale Softcopy Presentation States (PS3.3 A.33.1): outlines that viewers draw over the images."""

from collections.abc import Iterator, Sequence

from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from neurotriage.core.values import Omission, ResultKind, ResultObject
from worker.imaging import calibration
from worker.results.dataset import ResultContext, decimal, new_object, result_of
from worker.results.references import image_reference, image_references
from worker.results.regions import OutlinedFinding, outlined_findings
from worker.results.sources.scene import Scene
from worker.results.sources.slices import SourceSlice
from worker.results.wording import text

KIND = ResultKind.PRESENTATION_STATE
LAYER = "AI"
_BOTTOM = ([0.0, 0.94], [1.0, 1.0])  # corners of the notice, as shares of the displayed area


def presentation_states(context: ResultContext, scene: Scene) -> Iterator[ResultObject | Omission]:
    """One presentation state (PS3.3 A.33.1) per stack with findings.

    Several where the images of a stack differ in Rescale Slope or Intercept, which a state holds once.
    """
    groups: dict[tuple[tuple[str, int], tuple[float, float] | None], list[OutlinedFinding]] = {}
    for item in outlined_findings(context.analysis, scene):
        rescale = calibration(item.image.header, (item.image.frame or 1) - 1)
        groups.setdefault((item.image.stack_key, rescale), []).append(item)
    for index, ((_, rescale), outlined) in enumerate(groups.items()):
        yield _state(context, scene, index, outlined, rescale)
    if not groups:
        yield Omission(KIND, text.nothing_marked(context.analysis, context.claims))


def _state(
    context: ResultContext,
    scene: Scene,
    index: int,
    outlined: Sequence[OutlinedFinding],
    rescale: tuple[float, float] | None,
) -> ResultObject:
    dataset = new_object(context, KIND, index, GrayscaleSoftcopyPresentationStateStorage, "PR")
    images = list({item.image.key: item.image for item in outlined}.values())
    dataset.BodyPartExamined = "HEAD"
    dataset.ContentLabel = "AI_OUTLINES"
    dataset.ContentDescription = "Outlines of a research model, not for diagnosis"
    dataset.ContentCreatorName = "neurotriage"
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = (
        dataset.ContentDate,
        dataset.ContentTime,
    )
    series = Dataset()
    series.SeriesInstanceUID = images[0].series_instance_uid
    series.ReferencedImageSequence = image_references(images)
    dataset.ReferencedSeriesSequence = DicomSequence([series])
    dataset.DisplayedAreaSelectionSequence = _areas(images)
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = LAYER, 1
    dataset.GraphicLayerSequence = DicomSequence([layer])
    dataset.GraphicAnnotationSequence = DicomSequence(
        [_annotation(image, [item for item in outlined if item.image is image]) for image in images]
    )
    _set_grey(dataset, scene, images[0], rescale)
    return result_of(dataset, KIND, index)


def _areas(images: Sequence[SourceSlice]) -> DicomSequence:
    """Displayed Area (PS3.3 C.10.4): each image as a whole, an item per matrix and pixel size."""
    alike: dict[tuple[int, int, tuple[float, float]], list[SourceSlice]] = {}
    for image in images:
        alike.setdefault((image.header.Rows, image.header.Columns, image.spacing_mm), []).append(image)
    areas = DicomSequence()
    for (rows, columns, spacing_mm), own in alike.items():
        area = Dataset()
        area.ReferencedImageSequence = image_references(own)
        area.DisplayedAreaTopLeftHandCorner = [1, 1]
        area.DisplayedAreaBottomRightHandCorner = [columns, rows]
        area.PresentationSizeMode = "SCALE TO FIT"
        area.PresentationPixelSpacing = [decimal(value) for value in spacing_mm]
        areas.append(area)
    return areas


def _annotation(image: SourceSlice, outlined: Sequence[OutlinedFinding]) -> Dataset:
    """Graphic Annotation (PS3.3 C.10.5) of one image: outlines, their labels and the notice."""
    annotation = Dataset()
    annotation.ReferencedImageSequence = DicomSequence([image_reference(image)])
    annotation.GraphicLayer = LAYER
    annotation.TextObjectSequence = DicomSequence([_notice(), *map(_label, outlined)])
    annotation.GraphicObjectSequence = DicomSequence(map(_outline, outlined))
    return annotation


def _outline(outlined: OutlinedFinding) -> Dataset:
    """Columns and rows, (0, 0) the corner of the first pixel (PS3.3 C.10.5.1.2)."""
    graphic = Dataset()
    graphic.GraphicAnnotationUnits = "PIXEL"
    graphic.GraphicDimensions = 2
    graphic.NumberOfGraphicPoints = len(outlined.line)
    graphic.GraphicData = outlined.line.ravel().tolist()
    graphic.GraphicType = "POLYLINE"
    graphic.GraphicFilled = "N"
    return graphic


def _label(outlined: OutlinedFinding) -> Dataset:
    finding, label = outlined.finding, Dataset()
    label.AnchorPointAnnotationUnits = "PIXEL"
    label.UnformattedTextValue = f"AI: lesion {finding.lesion}, {text.percent(finding.probability)}"
    label.AnchorPoint = [float(outlined.line[:, 0].max()), float(outlined.line[:, 1].min())]
    label.AnchorPointVisibility = "N"
    return label


def _notice() -> Dataset:
    notice = Dataset()
    notice.BoundingBoxAnnotationUnits = "DISPLAY"
    notice.UnformattedTextValue = text.RESEARCH_NOTICE
    notice.BoundingBoxTopLeftHandCorner, notice.BoundingBoxBottomRightHandCorner = _BOTTOM
    notice.BoundingBoxTextHorizontalJustification = "LEFT"
    return notice


def _set_grey(
    dataset: Dataset, scene: Scene, image: SourceSlice, rescale: tuple[float, float] | None
) -> None:
    """Modality LUT, window and polarity, so that the images look as in our pictures."""
    if rescale is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept = (decimal(value) for value in rescale)
        dataset.RescaleType = "HU" if image.modality == "CT" else "US"
    inverted = str(image.header.get("PhotometricInterpretation", "")) == "MONOCHROME1"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    low, high = scene.window(image)
    # A linear window is at least 1 wide (PS3.3 C.11.2.1.2), and ours is for MONOCHROME2.
    if high - low >= 1 and not inverted:
        window = Dataset()
        window.WindowCenter, window.WindowWidth = decimal((low + high) / 2), decimal(high - low)
        dataset.SoftcopyVOILUTSequence = DicomSequence([window])
