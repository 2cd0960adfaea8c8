"""The square pictures of the summary page and the PDF: slices with their captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import Dataset

from neurotriage.core.evidence import SliceEvidence
from neurotriage.core.values import Finding, ReasonCode
from worker.results.dataset import ResultContext
from worker.results.pictures import picture
from worker.results.pictures.picture import Picture
from worker.results.pictures.typeface import font, write
from worker.results.sources.scene import Scene, findings_on, marks_on, montage_slices
from worker.results.sources.slices import SourceSlice
from worker.results.wording import text
from worker.results.wording.free_text import without_identity

MARK_SHARE = 24 / 552  # height of the orientation letters and of their rim, as a share of the side
MONTAGE_GAP_PX = 4
Colour = tuple[int, int, int]
GROUND: Colour = (0, 0, 0)
MARKS: Colour = (255, 196, 84)
WORDS: Colour = (255, 255, 255)

# Explains the colours beside their bar.
COLOURS = (
    f"{text.RELEVANCE_NOTICE}; hottest point = probability of slice and neighbours; "
    f"clear below {text.percent(picture.HEAT_CLEAR)}"
)

_NOTHING = "Nothing marked"
NO_OUTLINE = "no outline"


@dataclass(frozen=True, slots=True)
class Caption:
    """The caption of a picture: its subject, slice and series."""

    title: str
    place: str = ""
    series: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Pane:
    """A square picture with its caption."""

    shown: Picture  # uint8 RGB (side, side, 3)
    caption: Caption
    heat: bool = False  # whether a heat map is drawn on it


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """A slice to show, and the findings that it is shown for."""

    image: SourceSlice
    findings: tuple[Finding, ...] = ()


def shown_slices(context: ResultContext, scene: Scene) -> tuple[SourceSlice, ...]:
    """The slices of the panes, for references to source images; empty where no image can be read."""
    return tuple(subject.image for subject in _subjects(context, scene))


def panes(context: ResultContext, scene: Scene, side_px: int) -> tuple[Pane, ...]:
    """Two or three square pictures of ``side_px``; empty where no image can be decoded.

    - One lesion: the slice of its largest extent, without and with heat map and outline.
    - Several lesions, or CT and MR: the slice of each one's largest extent with its marks.
    - Marks on other slices than the deciding one: the deciding slice, and the most probable marked one.
    - No marks: the deciding slice, and a montage of the analysed stack.
    """
    subjects = _subjects(context, scene)
    if len(subjects) > 1:
        return tuple(pane for item in subjects for pane in _marked_pane(context, scene, item, side_px))
    if not subjects or (pixels := scene.pixels(subjects[0].image)) is None:
        return ()
    (subject,) = subjects
    image = subject.image
    marked = _marked_pane(context, scene, subject, side_px) if _marks(context, scene, image) else ()
    others = [] if marked else [(i, p) for i in montage_slices(scene) if (p := scene.pixels(i)) is not None]
    box = _box(context, scene, image, [pixels, *(p for _, p in others)])
    window = scene.window(image)
    plain = _square(image, picture.grey(pixels, window), box, side_px)
    without = "The same slice without marks" if marked else _unmarked(context, scene, image)
    left = Pane(plain, _caption(context, image, without))
    if marked:
        return left, *marked
    tile_px = (side_px - 2 * MONTAGE_GAP_PX) // 3
    tiles = [_fitted_slice(picture.grey(p, window), i, box, tile_px) for i, p in others]
    title = f"{len(tiles)} of the {image.count} analysed slices of this {_part_of(context, image)}"
    return left, Pane(
        _montage(tiles, tile_px, side_px), Caption(title, "", series_words(image, context.header))
    )


def _subjects(context: ResultContext, scene: Scene) -> tuple[_Subject, ...]:
    """The slices to show: those of the largest lesions, and the key slice of each other modality.

    Lesions with their largest extent on the same slice share it.
    """
    several = len(scene.keys) > 1
    most = text.MAX_LESIONS_SHOWN - 1 if several else text.MAX_LESIONS_SHOWN
    by_image: dict[tuple[str, int | None], list[Finding]] = {}
    for finding in text.lesions(context.analysis)[:most]:
        by_image.setdefault((finding.sop_instance_uid, finding.frame), []).append(finding)
    images = [(scene.find(*key), tuple(findings)) for key, findings in by_image.items()]
    subjects = [_Subject(image, findings) for image, findings in images if image is not None]
    shown = {subject.image.modality for subject in subjects}
    for key in scene.keys:
        if key.modality not in shown:
            subjects.append(_Subject(key, findings_on(context.analysis, key)))
    hottest = max(scene.evidence.values(), key=lambda item: float(item.heat.max()), default=None)
    if len(subjects) == 1 and hottest is not None and not _marks(context, scene, subjects[0].image):
        # A slice suspicious of a tumour mimic need not be the one most suspicious of a tumour.
        image = scene.find(hottest.sop_instance_uid, hottest.frame)
        subjects += [] if image is None else [_Subject(image)]
    return tuple(sorted(subjects, key=lambda item: item.image.modality) if several else subjects)


def _marks(context: ResultContext, scene: Scene, image: SourceSlice) -> SliceEvidence | None:
    """The evidence of a slice, if the outcome allows marks; else None."""
    return marks_on(context.analysis, scene, image) if context.analysis.outcome.marked else None


def _marked_pane(context: ResultContext, scene: Scene, subject: _Subject, side_px: int) -> tuple[Pane, ...]:
    """A slice with its marks; empty where it cannot be decoded."""
    image, pixels = subject.image, scene.pixels(subject.image)
    if pixels is None:
        return ()
    evidence, box = _marks(context, scene, image), _box(context, scene, image, [pixels])
    grey = picture.grey(pixels, scene.window(image))
    shown = _square(
        image, grey, box, side_px, evidence, findings_on(context.analysis, image) if evidence else ()
    )
    if evidence is None and not subject.findings:
        title = _unmarked(context, scene, image)
    else:
        title = _title(subject.findings, evidence)
        if _decided_by_mimic(context) and not subject.findings:
            title = f"Tumour {title}"  # not of the mimic in the pane beside it
    caption = _caption(context, image, title)
    return (Pane(shown, caption, heat=evidence is not None and bool(evidence.heat.any())),)


def _title(findings: Sequence[Finding], evidence: SliceEvidence | None) -> str:
    if findings:
        return "; ".join(f"lesion {f.lesion}: {text.place_words(f)}" for f in findings).capitalize()
    return _NOTHING if evidence is None else f"{marks_words(evidence)}, {NO_OUTLINE}"


def _unmarked(context: ResultContext, scene: Scene, image: SourceSlice) -> str:
    """The title of a slice without marks: that it decided as a possible mimic, or that it has none."""
    if _decided_by_mimic(context) and image is scene.key:
        return f"Highest for {text.MIMIC_NAME.lower()}"
    return _NOTHING


def _decided_by_mimic(context: ResultContext) -> bool:
    return any(reason.code is ReasonCode.LOOK_ALIKE for reason in context.analysis.reasons)


def _part_of(context: ResultContext, image: SourceSlice) -> str:
    stacks = sum(item.series_instance_uid == image.series_instance_uid for item in context.analysis.series)
    return "stack" if stacks > 1 else "series"


def marks_words(evidence: SliceEvidence) -> str:
    """The tumour probability of a marked slice in percent: with its neighbours, as coloured, and alone."""
    alone, smoothed = text.percent(evidence.probability), text.percent(float(evidence.heat.max()))
    if alone == smoothed or not evidence.heat.any():
        return alone
    return f"{smoothed} with neighbours, {alone} alone"


def _caption(context: ResultContext, image: SourceSlice, title: str) -> Caption:
    return Caption(title, slice_words(image), series_words(image, context.header))


def _box(
    context: ResultContext, scene: Scene, image: SourceSlice, slices: Sequence[NDArray[np.float32]]
) -> tuple[slice, slice]:
    """Rows and columns of a slice that contain the head and all marks."""
    evidence = _marks(context, scene, image)
    marks = np.zeros(slices[0].shape, dtype=np.bool_) if evidence is None else picture.marked_pixels(evidence)
    return picture.head_box(slices, image.modality, marks)


def slice_words(image: SourceSlice) -> str:
    """``slice 10 of 15 (image 10)``: 1-based position in the stack, Instance Number or frame."""
    instance = image.header.get("InstanceNumber", None)
    stored = f"frame {image.frame}" if image.frame else f"image {instance}" if instance is not None else ""
    return f"slice {image.number} of {image.count}{f' ({stored})' if stored else ''}"


def series_words(image: SourceSlice, header: Dataset) -> str:
    """``MR · Series 3 · AX FLAIR``: modality, Series Number and description of a slice's series.

    ``header``: of the patient, whose names and ids are blanked.
    """
    description = without_identity(str(image.header.get("SeriesDescription", "")), header)
    series = f"Series {image.header.get('SeriesNumber', None) or '?'}"
    stack = "" if image.stack == 1 else f"stack {image.stack}"
    return " · ".join(word for word in (image.modality, series, stack, description) if word)


def legend_bar(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, place: tuple[float, float], size_px: float, width_px: int
) -> float:
    """Draw the colour scale from 0 to 100 % at ``place`` (x, baseline y) in pixels; returns its right end."""
    x, y = place
    face, height = font(size_px), round(0.7 * size_px)
    write(draw, (x, y), "0 %", face, WORDS)
    x += face.getlength("0 %") + 0.4 * size_px
    canvas.paste(Image.fromarray(picture.colour_bar(width_px, height)), (round(x), round(y) - height))
    x += width_px + 0.4 * size_px
    write(draw, (x, y), "100 %", face, WORDS)
    return x + face.getlength("100 %") + 0.8 * size_px


def _square(
    image: SourceSlice,
    grey: Picture,
    box: tuple[slice, slice],
    side_px: int,
    evidence: SliceEvidence | None = None,
    findings: Sequence[Finding] = (),
) -> Picture:
    """A slice centred on a black square, with orientation letters at its edges.

    Of several ``findings``, each has its number beside its outline.
    """
    mark_px = round(side_px * MARK_SHARE)
    canvas = Image.new("RGB", (side_px, side_px), GROUND)
    _paste(canvas, _fitted_slice(grey, image, box, side_px - 2 * mark_px, evidence), (0, 0), side_px)
    middle, inset = side_px / 2, mark_px / 3
    left, right, top, bottom = picture.orientation_marks(image.row_direction, image.column_direction)
    draw, face = ImageDraw.Draw(canvas), font(mark_px, True)
    _number(draw, image, box, side_px, findings)
    for letters, place, anchor in (
        (left, (inset, middle), "lm"),
        (right, (side_px - inset, middle), "rm"),
        (top, (middle, inset), "mt"),
        (bottom, (middle, side_px - inset), "mb"),
    ):
        write(draw, place, letters, face, MARKS, anchor, rim_px=2)
    return np.asarray(canvas)


def _number(
    draw: ImageDraw.ImageDraw,
    image: SourceSlice,
    box: tuple[slice, slice],
    side_px: int,
    findings: Sequence[Finding],
) -> None:
    """Lesion numbers beside the outlines, if the slice has several lesions."""
    if len(findings) < 2:
        return
    mark_px = round(side_px * MARK_SHARE)
    rows, columns = (part.stop - part.start for part in box)
    height_mm, width_mm = rows * image.spacing_mm[0], columns * image.spacing_mm[1]
    scale = (side_px - 2 * mark_px) / max(height_mm, width_mm)
    left_px, top_px = (side_px - width_mm * scale) / 2, (side_px - height_mm * scale) / 2
    for finding in findings:
        _, y0, x1, _ = finding.box
        x = left_px + (x1 - box[1].start) * image.spacing_mm[1] * scale + mark_px / 3
        y = top_px + (y0 - box[0].start) * image.spacing_mm[0] * scale
        place = min(x, side_px - mark_px), max(y, 2.0 * mark_px)
        write(draw, place, str(finding.lesion), font(mark_px, True), WORDS, rim_px=2)


def _fitted_slice(
    grey: Picture,
    image: SourceSlice,
    box: tuple[slice, slice],
    side_px: int,
    evidence: SliceEvidence | None = None,
) -> Picture:
    """The part of a slice in ``box``, in true proportions, as large as fits a square of ``side_px``."""
    part = grey[box]
    height_mm, width_mm = part.shape[0] * image.spacing_mm[0], part.shape[1] * image.spacing_mm[1]
    scale = side_px / max(height_mm, width_mm)
    shown = picture.resized(part, max(round(height_mm * scale), 1), max(round(width_mm * scale), 1))
    if evidence is None:
        return shown
    return picture.with_outline(picture.with_heat(shown, evidence.heat[box]), evidence.mask[box], line_px=2)


def _montage(tiles: Sequence[Picture], tile_px: int, side_px: int) -> Picture:
    canvas = Image.new("RGB", (side_px, side_px), GROUND)
    step = tile_px + MONTAGE_GAP_PX
    for number, tile in enumerate(tiles):
        row, column = divmod(number, 3)
        _paste(canvas, tile, (column * step, row * step), tile_px)
    return np.asarray(canvas)


def _paste(canvas: Image.Image, shown: Picture, corner: tuple[int, int], side_px: int) -> None:
    x, y = corner
    place = (x + (side_px - shown.shape[1]) // 2, y + (side_px - shown.shape[0]) // 2)
    canvas.paste(Image.fromarray(shown), place)
