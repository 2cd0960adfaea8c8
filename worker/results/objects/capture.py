"""Secondary Captures (PS3.3 A.8.1): the summary page, and source slices with what the model saw."""

import io
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from neurotriage.core.evidence import SliceEvidence
from neurotriage.core.values import Claims, Omission, ResultKind, ResultObject
from worker.results import text
from worker.results.dataset import Frame, decimal, lossy_history, new_object, result_of
from worker.results.objects import multiframe
from worker.results.pictures import picture
from worker.results.pictures.page import AMBER, WHITE, page_picture
from worker.results.pictures.picture import Picture
from worker.results.pictures.typeface import fitted, write
from worker.results.references import source_image
from worker.results.scene import Scene, overlay_slices
from worker.results.source import SourceSlice

MIN_SIDE_PX = 512  # smaller matrices are enlarged by a whole factor, so that burnt-in text is legible
TEXT_SHARE = 1 / 25  # type size as a share of the shorter side: 20 px at 512, 10 px if shown at 256


def page(frame: Frame, scene: Scene) -> ResultObject:
    """The summary page; there is one for every outcome."""
    shown = page_picture(frame, scene)
    dataset = _capture(frame, ResultKind.PAGE, 0, shown)
    dataset.PatientOrientation = ""
    if scene.key is not None:
        dataset.SourceImageSequence = Sequence([source_image(image) for image in scene.keys])
    return result_of(dataset, ResultKind.PAGE, 0)


def overlays(frame: Frame, scene: Scene, kind: ResultKind) -> Iterator[ResultObject | Omission]:
    """Slices with heat map, outline and notice, at the place of their source: those that matter, or all."""
    images = _overlaid(frame, scene, kind)
    if not images:
        yield Omission(kind, text.nothing_marked(frame.analysis, frame.claims))
    index = 0
    for image in images:
        drawn = _drawn(frame, scene, image)
        if drawn is None:
            yield _undecoded(kind, image)
            continue
        placed, shown = drawn
        dataset = _capture(frame, kind, index, shown)
        _place(frame, dataset, placed)
        dataset.SourceImageSequence = Sequence([source_image(image)])
        yield result_of(dataset, kind, index)
        index += 1


def overlay_frames(frame: Frame, scene: Scene, kind: ResultKind) -> Iterator[ResultObject | Omission]:
    """The same pictures as frames: one Multi-frame True Color object for each stack."""
    images = _overlaid(frame, scene, kind)
    if not images:
        yield Omission(kind, text.nothing_marked(frame.analysis, frame.claims))
    index = 0
    for key in dict.fromkeys(image.stack_key for image in images):
        own = [image for image in images if image.stack_key == key]
        refused = multiframe.objection(own) or _size_objection(own)
        if refused:
            yield Omission(kind, refused)
            continue
        drawn = [(image, _drawn(frame, scene, image)) for image in own]
        yield from (_undecoded(kind, image) for image, found in drawn if found is None)
        frames = [found for _, found in drawn if found is not None]
        if frames:
            series = [_enlarged(image, _factor(image)) for image in scene.stack_of(own[0])]
            yield _frames(frame, kind, index, series, frames)
            index += 1


def _overlaid(frame: Frame, scene: Scene, kind: ResultKind) -> tuple[SourceSlice, ...]:
    """The slices that matter, or all where a kind shows all and one of them matters."""
    images = overlay_slices(frame.analysis, scene)
    every = kind in (ResultKind.OVERLAY_SERIES, ResultKind.OVERLAY_SERIES_FRAMES)
    return scene.slices if images and every else images


def _drawn(frame: Frame, scene: Scene, image: SourceSlice) -> tuple[SourceSlice, Picture] | None:
    """The overlay of a slice, and the slice on the overlay's grid; None where it cannot be decoded."""
    pixels = scene.pixels(image)
    if pixels is None:
        return None
    grey = picture.grey(pixels, scene.window(image))
    seen = scene.evidence.get(image.key)
    return _enlarged(image, _factor(image)), overlay_picture(frame, image, grey, _factor(image), seen)


def _factor(image: SourceSlice) -> int:
    """By which a slice is enlarged: at least 1."""
    side_px = min(int(image.header.Rows), int(image.header.Columns))
    return -(-MIN_SIDE_PX // side_px)  # rounded up


def _enlarged(image: SourceSlice, factor: int) -> SourceSlice:
    """The same slice on a finer grid: the centre of its first pixel moves, its edges stay."""
    shift_mm = (1 - 1 / factor) / 2
    return replace(
        image,
        position_mm=image.position_mm
        - image.row_direction * image.spacing_mm[1] * shift_mm
        - image.column_direction * image.spacing_mm[0] * shift_mm,
        spacing_mm=(image.spacing_mm[0] / factor, image.spacing_mm[1] / factor),
    )


def _undecoded(kind: ResultKind, image: SourceSlice) -> Omission:
    return Omission(kind, f"slice {image.number} of {image.count} cannot be decoded")


def _size_objection(images: Collection[SourceSlice]) -> str:
    first = next(iter(images))
    rows, columns = first.header.Rows * _factor(first), first.header.Columns * _factor(first)
    return multiframe.size_objection(len(images), rows, columns, bytes_per_pixel=3)


def _frames(
    frame: Frame,
    kind: ResultKind,
    index: int,
    series: Collection[SourceSlice],
    drawn: Collection[tuple[SourceSlice, Picture]],
) -> ResultObject:
    """A Multi-frame True Color Secondary Capture (PS3.3 A.8.5) of the pictures of one series."""
    images = [image for image, _ in drawn]
    shown = np.stack([shown for _, shown in drawn])
    dataset = _capture(frame, kind, index, shown, MultiFrameTrueColorSecondaryCaptureImageStorage)
    multiframe.place_frames(dataset, list(series), images, multiframe.EXTRACTED, Dataset())
    dataset.FrameIncrementPointer = Tag("PageNumberVector")
    dataset.PageNumberVector = list(range(1, len(images) + 1))
    dataset.SourceImageSequence = Sequence([source_image(image) for image in images])
    dataset.PatientOrientation = _edges(images[0])
    return result_of(dataset, kind, index)


def picture_of(result: ResultObject) -> bytes | None:
    """The picture of a Secondary Capture as PNG, for people without a viewer; None for other objects."""
    if result.sop_class_uid != SecondaryCaptureImageStorage:
        return None
    return picture.png(dcmread(io.BytesIO(result.data)).pixel_array)


def overlay_picture(
    frame: Frame, image: SourceSlice, grey: Picture, factor: int, seen: SliceEvidence | None
) -> Picture:
    """One slice, enlarged by ``factor``, with what the model saw there and what that means."""
    rows, columns = grey.shape[0] * factor, grey.shape[1] * factor
    shown = picture.resized(grey, rows, columns) if factor > 1 else grey
    size = min(rows, columns) * TEXT_SHARE
    if seen is not None:
        shown = picture.with_heat(shown, seen.heat)
        shown = picture.with_outline(shown, seen.mask, line_px=max(size / 10, 1.5))
    canvas = Image.fromarray(shown)
    draw = ImageDraw.Draw(canvas)
    rim = max(round(size / 9), 1)
    inset = size / 2
    width = columns - 2 * inset
    said = "nothing marked" if seen is None else text.percent(seen.probability)
    upper = [text.verdict(frame.analysis.outcome).title, f"Slice {image.number} of {image.count}: {said}"]
    lower = [text.RESEARCH_NOTICE]
    if seen is not None:
        lower.insert(0, f"Heat map: {text.RELEVANCE_NOTICE}")
    for number, line in enumerate(upper):
        face = fitted(line, size, width, bold=True)
        write(draw, (inset, inset + size * (1 + 1.3 * number)), line, face, WHITE, rim_px=rim)
    for number, line in enumerate(reversed(lower)):
        face = fitted(line, size, width, bold=True)
        write(draw, (inset, rows - inset - 1.3 * size * number), line, face, AMBER, rim_px=rim)
    return np.asarray(canvas)


def _capture(
    frame: Frame,
    kind: ResultKind,
    index: int,
    shown: Picture,
    sop_class_uid: str = SecondaryCaptureImageStorage,
) -> Dataset:
    """A Secondary Capture of an RGB picture (rows, columns, 3), or of several (frames, rows, columns, 3),
    without place or sources.
    """
    dataset = new_object(frame, kind, index, sop_class_uid, modality="OT")
    dataset.ConversionType = "WSD"
    dataset.BodyPartExamined = "HEAD"
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.DateOfSecondaryCapture = dataset.ContentDate
    dataset.TimeOfSecondaryCapture = dataset.ContentTime
    dataset.BurnedInAnnotation = "NO"  # the outcome and notices are drawn, nobody's identity is
    dataset.DerivationDescription = _derivation(frame)
    lossy_history(frame.header, dataset)
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


_MARKS = (
    f"Heat map: Grad-CAM, inferno, opacity {picture.HEAT_ALPHA:g} above {picture.HEAT_THRESHOLD:g} of the "
    f"maximum ({text.RELEVANCE_NOTICE}). Outline: the model's lesion mask."
)


def _derivation(frame: Frame) -> str:
    """How the picture came to be (at most 1024 characters)."""
    models = "; ".join(
        f"{p.model} {p.version} sha256 {p.sha256} threshold {p.threshold:g}"
        for p in frame.analysis.predictions
    )
    drawn = "Source images as they are." if frame.claims is Claims.TRIAGE_ONLY else _MARKS
    return f"{drawn} {models}"[:1024].strip()


def _place(frame: Frame, dataset: Dataset, image: SourceSlice) -> None:
    """The geometry, as additional attributes: viewers then sort and cross-reference the picture."""
    dataset.ImagePositionPatient = [decimal(value) for value in image.position_mm]
    dataset.ImageOrientationPatient = [
        decimal(value) for value in (*image.row_direction, *image.column_direction)
    ]
    dataset.PixelSpacing = [decimal(value) for value in image.spacing_mm]
    dataset.SliceThickness = "" if image.thickness_mm is None else decimal(image.thickness_mm)
    # Without a frame of reference the overlays get one of their own, so that they sort among themselves.
    own_frame_uid = frame.uid(ResultKind.OVERLAY, "frame of reference", image.series_uid)
    dataset.FrameOfReferenceUID = image.header.get("FrameOfReferenceUID") or own_frame_uid
    dataset.PositionReferenceIndicator = str(image.header.get("PositionReferenceIndicator", "") or "")[:64]
    dataset.PatientOrientation = _edges(image)


def _edges(image: SourceSlice) -> list[str]:
    """Which way rows and columns run (PS3.3 C.7.6.1.1.1)."""
    _, right, _, bottom = picture.orientation_marks(image.row_direction, image.column_direction)
    return [right, bottom]
