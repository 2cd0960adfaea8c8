"""Secondary Captures (PS3.3 A.8.1, A.8.5): the summary page, and source slices with the model's marks."""

import io
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from neurotriage.core.values import Claims, Omission, OverlayStyle, ResultKind, ResultObject
from worker.results.dataset import ResultContext, decimal, lossy_history, new_object, result_of
from worker.results.objects import multiframe
from worker.results.pictures import picture
from worker.results.pictures.overlay import layout_of, overlay_picture
from worker.results.pictures.page import page_picture
from worker.results.pictures.panes import shown_slices
from worker.results.pictures.picture import Picture
from worker.results.references import source_image
from worker.results.sources.scene import Scene, marks_on, overlay_slices
from worker.results.sources.slices import SourceSlice
from worker.results.wording import text


def page(context: ResultContext, scene: Scene) -> ResultObject:
    """The summary page, a Secondary Capture (PS3.3 A.8.1) of every outcome."""
    shown = page_picture(context, scene)
    dataset = _capture(context, ResultKind.PAGE, 0, shown)
    dataset.PatientOrientation = ""
    images = shown_slices(context, scene)
    if images:
        dataset.SourceImageSequence = Sequence([source_image(image) for image in images])
    return result_of(dataset, ResultKind.PAGE, 0)


def overlays(context: ResultContext, scene: Scene, kind: ResultKind) -> Iterator[ResultObject | Omission]:
    """Slices with heat map, outline and notice as Secondary Captures (PS3.3 A.8.1) with their geometry.

    Those of ``overlay_slices``, or for ``OVERLAY_SERIES`` all slices of the scene. In the style ``BOTH`` they
    have no geometry. A slice that cannot be decoded gives an ``Omission``.
    """
    images = _overlaid(context, scene, kind)
    if not images:
        yield Omission(kind, text.nothing_marked(context.analysis, context.claims))
    index = 0
    for image in images:
        drawn = _drawn(context, scene, image, context.overlay)
        if drawn is None:
            yield _undecoded(kind, image)
            continue
        placed, shown = drawn
        dataset = _capture(context, kind, index, shown)
        if context.overlay is OverlayStyle.BOTH:  # two pictures side by side have no common geometry
            dataset.PatientOrientation = _edges(image)
        else:
            _place(context, dataset, placed)
        dataset.SourceImageSequence = Sequence([source_image(image)])
        yield result_of(dataset, kind, index)
        index += 1


def overlay_frames(
    context: ResultContext, scene: Scene, kind: ResultKind
) -> Iterator[ResultObject | Omission]:
    """The overlays as frames of one Multi-frame True Color Secondary Capture (PS3.3 A.8.5) per stack.

    Each frame has its position in the patient, so the style ``BOTH`` becomes ``HEAT``. A stack that cannot be
    one object (``multiframe.objection``) and a slice that cannot be decoded give an ``Omission``.
    """
    style = OverlayStyle.HEAT if context.overlay is OverlayStyle.BOTH else context.overlay
    images = _overlaid(context, scene, kind)
    if not images:
        yield Omission(kind, text.nothing_marked(context.analysis, context.claims))
    index = 0
    for key in dict.fromkeys(image.stack_key for image in images):
        stack = [image for image in images if image.stack_key == key]
        refused = multiframe.objection(stack) or _size_objection(stack)
        if refused:
            yield Omission(kind, refused)
            continue
        drawn = [(image, _drawn(context, scene, image, style)) for image in stack]
        yield from (_undecoded(kind, image) for image, overlay in drawn if overlay is None)
        frames = [overlay for _, overlay in drawn if overlay is not None]
        if frames:
            series = [_enlarged(image) for image in scene.stack_of(stack[0])]
            yield _frames(context, kind, index, series, frames)
            index += 1


def _overlaid(context: ResultContext, scene: Scene, kind: ResultKind) -> tuple[SourceSlice, ...]:
    """The slices to mark, or all slices where the kind shows whole series and there is one to mark."""
    images = overlay_slices(context.analysis, scene)
    whole = kind in (ResultKind.OVERLAY_SERIES, ResultKind.OVERLAY_SERIES_FRAMES)
    return scene.slices if images and whole else images


def _drawn(
    context: ResultContext, scene: Scene, image: SourceSlice, style: OverlayStyle
) -> tuple[SourceSlice, Picture] | None:
    """A slice with the geometry of its overlay, and the overlay; None where it cannot be decoded."""
    pixels = scene.pixels(image)
    if pixels is None:
        return None
    grey = picture.grey(pixels, scene.window(image))
    evidence = marks_on(context.analysis, scene, image)
    return _enlarged(image), overlay_picture(context, image, grey, evidence, style)


def _enlarged(image: SourceSlice) -> SourceSlice:
    """The slice with the geometry of its overlay: smaller pixels, and a first pixel outside the slice."""
    layout = layout_of(image)
    finer_mm = image.spacing_mm[0] / layout.factor, image.spacing_mm[1] / layout.factor
    # Enlarging keeps the slice's edges in place but moves the centre of its first pixel.
    down_px = layout.above_px + (layout.factor - 1) / 2
    along_px = layout.side_px + (layout.factor - 1) / 2
    corner_mm = (
        image.position_mm
        - image.row_direction * finer_mm[1] * along_px
        - image.column_direction * finer_mm[0] * down_px
    )
    place = replace(image.image.place, position_mm=tuple(corner_mm.tolist()), spacing_mm=finer_mm)
    return replace(image, image=replace(image.image, geometry=place))


def _undecoded(kind: ResultKind, image: SourceSlice) -> Omission:
    return Omission(kind, f"slice {image.number} of {image.count} cannot be decoded")


def _size_objection(images: Collection[SourceSlice]) -> str:
    layout = layout_of(next(iter(images)))
    return multiframe.size_objection(len(images), layout.height_px, layout.width_px, bytes_per_pixel=3)


def _frames(
    context: ResultContext,
    kind: ResultKind,
    index: int,
    series: Collection[SourceSlice],
    drawn: Collection[tuple[SourceSlice, Picture]],
) -> ResultObject:
    """A Multi-frame True Color Secondary Capture (PS3.3 A.8.5) of the pictures of one stack."""
    images = [image for image, _ in drawn]
    shown = np.stack([shown for _, shown in drawn])
    dataset = _capture(context, kind, index, shown, MultiFrameTrueColorSecondaryCaptureImageStorage)
    multiframe.place_frames(dataset, list(series), images, multiframe.EXTRACTED, Dataset())
    dataset.FrameIncrementPointer = Tag("PageNumberVector")
    dataset.PageNumberVector = list(range(1, len(images) + 1))
    dataset.SourceImageSequence = Sequence([source_image(image) for image in images])
    dataset.PatientOrientation = _edges(images[0])
    return result_of(dataset, kind, index)


def picture_of(result: ResultObject) -> bytes | None:
    """The picture of a single-frame Secondary Capture as the bytes of a PNG; None for other objects."""
    if result.sop_class_uid != SecondaryCaptureImageStorage:
        return None
    return picture.png(dcmread(io.BytesIO(result.data)).pixel_array)


def _capture(
    context: ResultContext,
    kind: ResultKind,
    index: int,
    shown: Picture,
    sop_class_uid: str = SecondaryCaptureImageStorage,
) -> Dataset:
    """A Secondary Capture of an RGB picture (rows, columns, 3) or of several (frames, rows, columns, 3),
    still without geometry and source images.
    """
    dataset = new_object(context, kind, index, sop_class_uid, modality="OT")
    dataset.ConversionType = "WSD"
    dataset.BodyPartExamined = "HEAD"
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.DateOfSecondaryCapture = dataset.ContentDate
    dataset.TimeOfSecondaryCapture = dataset.ContentTime
    dataset.BurnedInAnnotation = "NO"  # outcome and notices are drawn, no identity
    dataset.DerivationDescription = _derivation(context, kind)
    lossy_history(context.header, dataset)
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = shown.shape[-3:-1]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    data = shown.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"
    return dataset


_HEAT = (
    "Heat map: Grad-CAM; a slice's hottest point has the probability of slice and neighbours; a tint without "
    f"change of brightness, none below {picture.HEAT_CLEAR:g}, full from {picture.HEAT_FULL:g} on "
    f"({text.RELEVANCE_NOTICE})."
)
_OUTLINE = "Outline: the model's lesion mask."


def _derivation(context: ResultContext, kind: ResultKind) -> str:
    """Derivation Description (0008,2111), at most 1024 characters."""
    models = "; ".join(
        f"{p.model} {p.version} sha256 {p.sha256} threshold {p.threshold:g}"
        for p in context.analysis.predictions
    )
    drawn = f"{_HEAT} {_OUTLINE}"
    if context.claims is Claims.TRIAGE_ONLY:
        drawn = "Source images as they are."
    elif kind is not ResultKind.PAGE and context.overlay is OverlayStyle.OUTLINE:
        drawn = _OUTLINE
    return f"{drawn} {models}"[:1024].strip()


def _place(context: ResultContext, dataset: Dataset, image: SourceSlice) -> None:
    """Add the geometry (PS3.3 C.7.6.2), by which viewers sort and cross-reference the picture."""
    dataset.ImagePositionPatient = [decimal(value) for value in image.position_mm]
    dataset.ImageOrientationPatient = [
        decimal(value) for value in (*image.row_direction, *image.column_direction)
    ]
    dataset.PixelSpacing = [decimal(value) for value in image.spacing_mm]
    dataset.SliceThickness = "" if image.thickness_mm is None else decimal(image.thickness_mm)
    # If the source has no frame of reference, the overlays get their own, so that viewers sort them.
    own_frame_uid = context.uid(ResultKind.OVERLAY, "frame of reference", image.series_instance_uid)
    dataset.FrameOfReferenceUID = image.header.get("FrameOfReferenceUID") or own_frame_uid
    dataset.PositionReferenceIndicator = str(image.header.get("PositionReferenceIndicator", "") or "")[:64]
    dataset.PatientOrientation = _edges(image)


def _edges(image: SourceSlice) -> list[str]:
    """Patient Orientation (0020,0020): the directions of rows and columns (PS3.3 C.7.6.1.1.1)."""
    _, right, _, bottom = picture.orientation_marks(image.row_direction, image.column_direction)
    return [right, bottom]
