"""Secondary Captures (PS3.3 A.8.1): the summary page, and source slices with what the model saw."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import SecondaryCaptureImageStorage

from neurotriage.core.evidence import SliceEvidence
from neurotriage.core.values import Claims, Omission, ResultKind, ResultObject
from worker.results import text
from worker.results.dataset import Frame, decimal, lossy_history, new_object, result_of
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
    images = overlay_slices(frame.analysis, scene)
    if not images:
        yield Omission(kind, text.nothing_marked(frame.analysis, frame.claims))
    elif kind is ResultKind.OVERLAY_SERIES:
        images = scene.slices
    index = 0
    for image in images:
        pixels = scene.pixels(image)
        if pixels is None:
            yield Omission(kind, f"slice {image.number} of {image.count} cannot be decoded")
            continue
        grey = picture.grey(pixels, scene.window(image))
        factor = -(-MIN_SIDE_PX // min(grey.shape[:2]))  # rounded up, so at least 1
        shown = overlay_picture(frame, image, grey, factor, scene.evidence.get(image.key))
        dataset = _capture(frame, kind, index, shown)
        _place(frame, dataset, image, factor)
        dataset.SourceImageSequence = Sequence([source_image(image)])
        yield result_of(dataset, kind, index)
        index += 1


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


def _capture(frame: Frame, kind: ResultKind, index: int, shown: Picture) -> Dataset:
    """A Secondary Capture of an RGB picture, without its place or sources."""
    dataset = new_object(frame, kind, index, SecondaryCaptureImageStorage, modality="OT")
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
    dataset.Rows, dataset.Columns = shown.shape[:2]
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


def _place(frame: Frame, dataset: Dataset, image: SourceSlice, factor: int) -> None:
    """The source's geometry, as additional attributes: viewers then sort and cross-reference the picture.

    ImagePositionPatient is the centre of the first pixel, so it moves when the pixels become smaller.
    """
    spacing_mm = [value / factor for value in image.spacing_mm]
    shift_mm = (1 - 1 / factor) / 2
    first_mm = (
        image.position_mm
        - image.row_direction * image.spacing_mm[1] * shift_mm
        - image.column_direction * image.spacing_mm[0] * shift_mm
    )
    dataset.ImagePositionPatient = [decimal(value) for value in first_mm]
    dataset.ImageOrientationPatient = [
        decimal(value) for value in (*image.row_direction, *image.column_direction)
    ]
    dataset.PixelSpacing = [decimal(value) for value in spacing_mm]
    dataset.SliceThickness = "" if image.thickness_mm is None else decimal(image.thickness_mm)
    # Without a frame of reference the overlays get one of their own, so that they sort among themselves.
    own_frame_uid = frame.uid(ResultKind.OVERLAY, "frame of reference", image.series_uid)
    dataset.FrameOfReferenceUID = image.header.get("FrameOfReferenceUID") or own_frame_uid
    dataset.PositionReferenceIndicator = str(image.header.get("PositionReferenceIndicator", "") or "")[:64]
    _, right, _, bottom = picture.orientation_marks(image.row_direction, image.column_direction)
    dataset.PatientOrientation = [right, bottom]
