"""The modules of multi-frame objects whose frames each have a position in the patient (PS3.3 C.7.6.16).

Written here rather than by highdicom, because we determine the order of frames, the references to frames of a
multi-frame source and every UID: the same analysis gives the same bytes.
"""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code

from neurotriage.dicom.uids import derived_uid
from worker.results.dataset import code_item, decimal, lossy_history
from worker.results.references import image_references, source_image
from worker.results.sources.slices import SourceSlice

SEGMENTED = Code("113076", "DCM", "Segmentation")
CALCULATED = Code("112187", "DCM", "Unspecified method of calculation")
EXTRACTED = Code("113091", "DCM", "Spatially-related frames extracted from the volume")
MAX_BYTES = 256 * 2**20  # of pixel data in one object
SAME = 1e-3  # tolerance of direction cosines and of pixel sizes in mm within a stack


def objection(series: Sequence[SourceSlice]) -> str:
    """The reason for which slices cannot be frames of one object; empty where they can.

    They need a frame of reference and the same orientation, matrix and pixel size.
    """
    first = series[0]
    if not first.header.get("FrameOfReferenceUID"):
        return "the source has no frame of reference"
    for image in series:
        if (image.header.Rows, image.header.Columns) != (first.header.Rows, first.header.Columns):
            return "the slices of the series differ in their matrix"
        if not np.allclose(_plane(image), _plane(first), atol=SAME):
            return "the slices of the series differ in orientation or pixel size"
    return ""


def size_objection(frames: int, rows: int, columns: int, bytes_per_pixel: int) -> str:
    """The reason for which the frames exceed ``MAX_BYTES`` in one object; empty where they do not."""
    if bytes_per_pixel * rows * columns * frames <= MAX_BYTES:
        return ""
    return f"{frames} frames of {rows} x {columns} pixels would be larger than {MAX_BYTES >> 20} MiB"


def add_frames(
    dataset: Dataset,
    series: Sequence[SourceSlice],
    images: Sequence[SourceSlice],
    derivation: Code,
    shared: Dataset,
    dimensions: Sequence[tuple[str, str, str]] = (),
    each: Dataset | None = None,
) -> None:
    """Image Pixel (PS3.3 C.7.6.3, without the pixels) of one grey frame per image, and ``place_frames``."""
    first = images[0]
    dataset.Rows, dataset.Columns = first.header.Rows, first.header.Columns
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BurnedInAnnotation = "NO"
    dataset.PresentationLUTShape = "IDENTITY"
    lossy_history(first.header, dataset)
    dataset.ContentCreatorName = "neurotriage"
    place_frames(dataset, series, images, derivation, shared, dimensions, each)


def place_frames(
    dataset: Dataset,
    series: Sequence[SourceSlice],
    images: Sequence[SourceSlice],
    derivation: Code,
    shared: Dataset,
    dimensions: Sequence[tuple[str, str, str]] = (),
    each: Dataset | None = None,
) -> None:
    """Set functional groups (PS3.3 C.7.6.16) and dimensions (C.7.6.17) of one frame per image, in order.

    ``series``: all slices of the stack of ``images``, for the slice spacing. ``derivation``: code of the
    Derivation Image macro. ``shared``: further functional groups of all frames; it is changed.
    ``dimensions``: attribute, functional group and label of the dimensions before the position, whose index
    is 1 in all frames. ``each``: functional groups repeated in every frame, for readers that ignore the
    shared ones.
    """
    first = images[0]
    dataset.NumberOfFrames = len(images)
    dataset.FrameOfReferenceUID = first.header.FrameOfReferenceUID
    dataset.PositionReferenceIndicator = str(first.header.get("PositionReferenceIndicator", "") or "")[:64]
    _refer_to_series(dataset, images)
    _organise(dataset, [*dimensions, _POSITION])
    shared.PixelMeasuresSequence = DicomSequence([_pixel_measures(series, first)])
    orientation = Dataset()
    orientation.ImageOrientationPatient = [
        decimal(value) for value in (*first.row_direction, *first.column_direction)
    ]
    shared.PlaneOrientationSequence = DicomSequence([orientation])
    dataset.SharedFunctionalGroupsSequence = DicomSequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(
        [
            _frame_groups(image, derivation, [1] * len(dimensions) + [place], each or Dataset())
            for place, image in enumerate(images, start=1)
        ]
    )


_POSITION = ("ImagePositionPatient", "PlanePositionSequence", "Position")


def _plane(image: SourceSlice) -> tuple[float, ...]:
    return (*image.row_direction, *image.column_direction, *image.spacing_mm)


def _pixel_measures(series: Sequence[SourceSlice], first: SourceSlice) -> Dataset:
    """Pixel Measures (PS3.3 C.7.6.16.2.1), with the mean step in mm between the slices of the series."""
    measures = Dataset()
    measures.PixelSpacing = [decimal(value) for value in first.spacing_mm]
    normal = np.cross(first.row_direction, first.column_direction)
    step_mm = 0.0
    if len(series) > 1:
        step_mm = float(normal @ (series[-1].position_mm - series[0].position_mm)) / (len(series) - 1)
    if step_mm > 0:
        measures.SpacingBetweenSlices = decimal(step_mm)
    thickness_mm = first.thickness_mm or step_mm
    if thickness_mm > 0:
        measures.SliceThickness = decimal(thickness_mm)
    return measures


def _frame_groups(image: SourceSlice, derivation: Code, indices: Sequence[int], more: Dataset) -> Dataset:
    """Derivation Image, Frame Content and Plane Position of one frame, and ``more``.

    The last of ``indices`` is the frame's 1-based position in its stack (PS3.3 C.7.6.16.2.2.4).
    """
    source = source_image(image)
    source.SpatialLocationsPreserved = "YES"
    derived, content, position, groups = Dataset(), Dataset(), Dataset(), deepcopy(more)
    derived.DerivationCodeSequence = DicomSequence([code_item(*derivation[:3])])
    derived.SourceImageSequence = DicomSequence([source])
    content.StackID = str(image.stack)
    content.InStackPositionNumber = indices[-1]
    content.DimensionIndexValues = list(indices)
    position.ImagePositionPatient = [decimal(value) for value in image.position_mm]
    groups.DerivationImageSequence = DicomSequence([derived])
    groups.FrameContentSequence = DicomSequence([content])
    groups.PlanePositionSequence = DicomSequence([position])
    return groups


def _organise(dataset: Dataset, dimensions: Sequence[tuple[str, str, str]]) -> None:
    """Multi-frame Dimension module (PS3.3 C.7.6.17)."""
    organisation = Dataset()
    organisation.DimensionOrganizationUID = derived_uid(dataset.SOPInstanceUID, "dimensions")
    dataset.DimensionOrganizationSequence = DicomSequence([organisation])
    dataset.DimensionIndexSequence = DicomSequence()
    for attribute, group, label in dimensions:
        index = Dataset()
        index.DimensionOrganizationUID = organisation.DimensionOrganizationUID
        index.DimensionIndexPointer = tag_for_keyword(attribute)
        index.FunctionalGroupPointer = tag_for_keyword(group)
        index.DimensionDescriptionLabel = label
        dataset.DimensionIndexSequence.append(index)


def _refer_to_series(dataset: Dataset, images: Sequence[SourceSlice]) -> None:
    """Common Instance Reference module (PS3.3 C.12.2), without which viewers ignore a segmentation."""
    series = Dataset()
    series.SeriesInstanceUID = images[0].series_instance_uid
    series.ReferencedInstanceSequence = image_references(images)
    for item in series.ReferencedInstanceSequence:
        item.pop("ReferencedFrameNumber", None)
    dataset.ReferencedSeriesSequence = DicomSequence([series])
