"""The lesion of a sample study lies where the study says, in the coordinates of its own headers."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from neurotriage.demo.studies import CT_LESION, MR_LESION, MR_SCAN, mr_study
from tests.demo.made import made, series_of, true_values

LESIONS = {"mr": MR_LESION, "ct": CT_LESION, "pair": CT_LESION}


def patient_mm(dataset: Dataset, column: float, row: float) -> NDArray[np.float64]:
    """PS3.3 C.7.6.2.1.1, written out from the header alone."""
    along_row, along_column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = (float(value) for value in dataset.PixelSpacing)
    position: NDArray[np.float64] = (
        np.array(dataset.ImagePositionPatient, float)
        + along_row * between_columns * column
        + along_column * between_rows * row
    )
    return position


def corners_mm(name: str, datasets: list[Dataset]) -> NDArray[np.float64]:
    """The opposite corners of every tumour box of a series, (corners, 3)."""
    boxes = made(name).lesion_box_by_sop
    return np.array(
        [
            corner
            for d in datasets
            if d.SOPInstanceUID in boxes
            for x0, y0, x1, y1 in [boxes[d.SOPInstanceUID]]
            for corner in (patient_mm(d, x0, y0), patient_mm(d, x1 - 1, y1 - 1))
        ]
    )


@pytest.mark.parametrize("name", ["mr", "ct", "pair"])
def test_the_box_lies_where_the_lesion_was_put(name: str) -> None:
    study = made(name)
    assert study.lesion_centre_mm is not None
    for datasets in series_of(study):
        normal = np.cross(*np.array(datasets[0].ImageOrientationPatient, float).reshape(2, 3))
        nearest = min(
            datasets, key=lambda d: abs(normal @ (patient_mm(d, 0, 0) - np.array(study.lesion_centre_mm)))
        )
        x0, y0, x1, y1 = study.lesion_box_by_sop[nearest.SOPInstanceUID]
        middle = patient_mm(nearest, (x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2)
        assert np.linalg.norm(middle - study.lesion_centre_mm) < 8, "noise may move it, not by 8 mm"


@pytest.mark.parametrize("name", ["mr", "ct", "pair"])
def test_the_boxes_together_are_as_large_as_the_lesion_in_every_direction(name: str) -> None:
    radii_mm = np.array(LESIONS[name].radii_mm)
    for datasets in series_of(made(name)):
        extent_mm = np.ptp(corners_mm(name, datasets), axis=0)
        assert (extent_mm > 1.5 * radii_mm).all(), extent_mm
        assert (extent_mm < 3.0 * radii_mm).all(), extent_mm


def test_what_a_lesion_changes_in_the_pixels_is_centred_where_the_study_says() -> None:
    """Against the same head, scanner and noise without the lesion, by pixels and headers alone."""
    study = made("mr")
    healthy = mr_study("healthy", "DEMO^HEALTHY", None, MR_SCAN, seed=1)
    points, weights = [], []
    for with_lesion, without in zip(series_of(study)[0], series_of(healthy)[0], strict=True):
        change = ndimage.gaussian_filter(true_values(with_lesion) - true_values(without), 1.5)
        for row, column in np.argwhere(change > 200):
            points.append(patient_mm(with_lesion, column, row))
            weights.append(change[row, column])
    assert len(points) > 500
    centre_mm = np.average(points, axis=0, weights=weights)
    assert np.linalg.norm(centre_mm - study.lesion_centre_mm) < 6


def test_the_lesion_of_the_ct_is_on_the_patients_right() -> None:
    study = made("ct")
    assert study.lesion_centre_mm is not None
    assert study.lesion_centre_mm[0] < 0, "x grows to the patient's left"
    assert all(box[2] < 256 for box in study.lesion_box_by_sop.values()), "right is left in the picture"


def test_the_lesion_of_the_mr_is_on_the_patients_left() -> None:
    study = made("mr")
    assert study.lesion_centre_mm is not None
    assert study.lesion_centre_mm[0] > 0
    assert all(box[0] > 128 for box in study.lesion_box_by_sop.values()), "left is right in the picture"


@pytest.mark.parametrize("name", ["mr", "healthy", "ct"])
def test_right_is_left_in_the_picture_the_front_is_up_and_the_last_slice_is_the_highest(name: str) -> None:
    """The picture is upright and seen from the feet; the vertex is in the last slice."""
    for datasets in series_of(made(name)):
        along_row, along_column = np.array(datasets[0].ImageOrientationPatient, float).reshape(2, 3)
        assert along_row[0] > 0.99, "columns do not run to the patient's left"
        assert along_column[1] > 0.98, "rows do not run to the patient's back"
        above, below = datasets[-1], datasets[0]
        assert above.ImagePositionPatient[2] > below.ImagePositionPatient[2]
        assert _head_pixels(above) < 0.7 * _head_pixels(datasets[len(datasets) // 2]), "no vertex at the top"


def _head_pixels(dataset: Dataset) -> int:
    return int(_head_mask(dataset).sum())


def _head_mask(dataset: Dataset) -> NDArray[np.bool_]:
    """The head against air, bone included."""
    values = ndimage.gaussian_filter(true_values(dataset), dataset.Rows / 200)
    threshold = -500 if dataset.Modality == "CT" else 110
    return np.asarray(ndimage.binary_fill_holes(values > threshold))


def test_ct_and_mr_of_a_pair_agree_in_space() -> None:
    """The head in each MR slice is where the CT has it, by the positions of both headers."""
    after_contrast, _, ct = series_of(made("pair"))
    heads = np.stack([_head_mask(d) for d in ct]).astype(np.float32)
    bottom = np.array(ct[0].ImagePositionPatient, float)
    step = np.array(ct[1].ImagePositionPatient, float) - bottom
    spacing_mm = float(ct[0].PixelSpacing[0])
    overlaps = []
    for mr in after_contrast[6:-6]:
        rows, columns = np.mgrid[: mr.Rows, : mr.Columns]
        along_row, along_column = np.array(mr.ImageOrientationPatient, float).reshape(2, 3)
        pixel_mm = float(mr.PixelSpacing[0])
        points = (
            np.array(mr.ImagePositionPatient, float)[:, None, None]
            + along_row[:, None, None] * pixel_mm * columns
            + along_column[:, None, None] * pixel_mm * rows
        ) - bottom[:, None, None]
        # The CT is axial: its axes are the patient's.
        indices = points[2] / step[2], points[1] / spacing_mm, points[0] / spacing_mm
        in_ct = ndimage.map_coordinates(heads, indices, order=1, cval=0) > 0.5
        in_mr = _head_mask(mr)
        overlaps.append(2 * (in_ct & in_mr).sum() / (in_ct.sum() + in_mr.sum()))
    assert min(overlaps) > 0.96, overlaps


def test_ct_and_mr_of_a_pair_show_the_mass_in_the_same_place() -> None:
    after_contrast, flair, ct = series_of(made("pair"))
    in_t1, in_flair, in_ct = (corners_mm("pair", series) for series in (after_contrast, flair, ct))
    np.testing.assert_allclose(in_t1, in_flair)
    middle_mr, middle_ct = ((c.max(axis=0) + c.min(axis=0)) / 2 for c in (in_t1, in_ct))
    assert np.linalg.norm(middle_mr - middle_ct) < 5, "slices of 5 mm, one block of them tilted"


def test_the_boxes_hold_what_shines_after_contrast_and_the_other_side_does_not() -> None:
    study = made("mr")
    after_contrast = series_of(study)[0]
    boxed = [d for d in after_contrast if d.SOPInstanceUID in study.lesion_box_by_sop]
    assert len(boxed) >= 5
    for dataset in boxed:
        x0, y0, x1, y1 = study.lesion_box_by_sop[dataset.SOPInstanceUID]
        inside = true_values(dataset)[y0:y1, x0:x1]
        mirrored = true_values(dataset)[y0:y1, 256 - x1 : 256 - x0]
        assert np.percentile(inside, 90) > 1.25 * np.percentile(mirrored, 90)


def test_oedema_is_bright_on_flair_within_the_larger_box() -> None:
    study = made("mr")
    flair = series_of(study)[1]
    for uid, tumour in study.lesion_box_by_sop.items():
        outer = study.abnormality_box_by_sop[uid]
        assert outer[0] <= tumour[0]
        assert outer[1] <= tumour[1]
        assert outer[2] >= tumour[2]
        assert outer[3] >= tumour[3]
    middle = next(d for d in flair[14:] if d.SOPInstanceUID in study.lesion_box_by_sop)
    x0, y0, x1, y1 = study.abnormality_box_by_sop[middle.SOPInstanceUID]
    mirrored = true_values(middle)[y0:y1, 256 - x1 : 256 - x0]
    assert np.percentile(true_values(middle)[y0:y1, x0:x1], 80) > 1.3 * np.percentile(mirrored, 80)


def test_a_healthy_head_has_no_lesion() -> None:
    study = made("healthy")
    assert (study.lesion_box_by_sop, study.abnormality_box_by_sop, study.lesion_centre_mm) == ({}, {}, None)
