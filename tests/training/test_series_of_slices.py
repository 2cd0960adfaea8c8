"""Slices and NIfTI files as volumes: places, directions, and which series come of a patient."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neurotriage.core.values import Plane
from tests.training.drawn import row, write_nifti
from training.data.manifest import Row
from training.data.series import FIELD_OF_VIEW_MM, HEAD_MM, LARGEST_STEP_MM, series_of
from training.data.volumes import VolumeRow, read_rows, read_volume

pytestmark = pytest.mark.unit


def patient(folder: Path, ill: list[bool], numbers: list[int] | None = None, **changes: object) -> list[Row]:
    """Slices of one patient; the grey level of a slice is its number."""
    rows = []
    for number, tumour in zip(numbers or range(1, len(ill) + 1), ill, strict=True):
        path = folder / f"scan_{number}.png"
        Image.fromarray(np.full((20, 30), number, np.uint8)).save(path)
        known = {"source": "lgg", "series": "p1", "group": "p1", "tumour": tumour}
        rows.append(row(str(path), **{**known, **changes}))
    return rows


def test_a_tumour_patient_gives_the_whole_series_and_the_slices_beside_the_tumour(tmp_path: Path) -> None:
    made = list(series_of(patient(tmp_path, [False, True, True, False, False])))
    assert [(tumour, len(volume.voxels)) for _, tumour, volume in made] == [(True, 5), (False, 3)]
    assert [int(v) for v in made[1][2].voxels[:, 0, 0]] == [1, 4, 5]


def test_a_healthy_person_gives_one_series(tmp_path: Path) -> None:
    assert [tumour for _, tumour, _ in series_of(patient(tmp_path, [False] * 4))] == [False]


def test_too_few_slices_are_no_series(tmp_path: Path) -> None:
    assert not list(series_of(patient(tmp_path, [False, False])))
    made = list(series_of(patient(tmp_path, [True, True, False])))
    assert [tumour for _, tumour, _ in made] == [True], "one slice beside the tumour is no series"


@pytest.mark.parametrize("changes", [{"source": "br35h"}, {"tumour": None}])
def test_slices_of_nobody_in_particular_make_no_series(
    tmp_path: Path, changes: dict[str, bool | None]
) -> None:
    assert not list(series_of(patient(tmp_path, [False] * 5, **changes)))


def test_slices_lie_where_their_numbers_say(tmp_path: Path) -> None:
    rows = patient(tmp_path, [False] * 3, numbers=[11, 1, 4])
    ((_, _, volume),) = series_of(rows)
    assert [int(v) for v in volume.voxels[:, 0, 0]] == [1, 4, 11], "in order"
    steps = np.diff(volume.positions_mm[:, 2])
    assert steps.tolist() == pytest.approx([3 * LARGEST_STEP_MM, 7 * LARGEST_STEP_MM])
    assert volume.pixel_spacing_mm == pytest.approx((FIELD_OF_VIEW_MM / 30,) * 2)


def test_many_slices_fill_a_head(tmp_path: Path) -> None:
    ((_, _, volume),) = series_of(patient(tmp_path, [False] * 4, numbers=[1, 50, 100, 151]))
    assert volume.positions_mm[-1, 2] - volume.positions_mm[0, 2] == pytest.approx(HEAD_MM)


def test_each_plane_has_the_directions_of_its_usual_view(tmp_path: Path) -> None:
    rows = patient(tmp_path, [False] * 3, plane="sagittal")
    ((_, _, volume),) = series_of(rows)
    assert volume.plane is Plane.SAGITTAL
    across = np.cross(volume.row_direction, volume.column_direction)
    along = volume.positions_mm[1] - volume.positions_mm[0]
    assert np.abs(across @ along) == pytest.approx(np.linalg.norm(along))
    assert np.abs(across).argmax() == 0, "slices follow each other from side to side"


def test_unequal_slices_share_a_frame(tmp_path: Path) -> None:
    rows = patient(tmp_path, [False] * 3)
    Image.fromarray(np.full((40, 10), 7, np.uint8)).save(rows[0].path)
    ((_, _, volume),) = series_of(rows)
    assert volume.voxels.shape == (3, 40, 30)


VOLUMES = "path,modality,sequence,label,tumour,source,group,split\n"


def test_rows_of_volumes_are_read_with_what_is_missing_as_unknown(tmp_path: Path) -> None:
    path = tmp_path / "volumes.csv"
    path.write_text(VOLUMES + "a.nii,MR,T1,healthy,0,ixi,p1,val\nb.nii,CT,,,,,,\n", encoding="utf-8")
    first, second = read_rows(path)
    assert (first.path, first.tumour, first.split) == (tmp_path / "a.nii", False, "val")
    assert second == VolumeRow(tmp_path / "b.nii", "CT", "unknown", None, "unknown", "unknown", "b.nii", "")


def marked_volume(folder: Path, corner: tuple[int, int, int]) -> VolumeRow:
    """A volume of 6 x 8 x 10 voxels of 1 x 2 x 3 mm (right, front, head), one of them bright."""
    voxels = np.zeros((6, 8, 10), np.float32)
    voxels[corner] = 100
    write_nifti(folder / "a.nii.gz", voxels, (1.0, 2.0, 3.0))
    return VolumeRow(folder / "a.nii.gz", "MR", "T1", None, "unknown", "toy", "a", "")


@pytest.mark.parametrize("plane", Plane)
@pytest.mark.parametrize("voxel", [(0, 0, 0), (5, 7, 9), (1, 6, 2)])
def test_a_voxel_has_the_same_patient_coordinates_in_every_plane(
    plane: Plane, voxel: tuple[int, int, int], tmp_path: Path
) -> None:
    volume = read_volume(marked_volume(tmp_path, voxel), plane)
    slice_, line, column = np.unravel_index(int(np.argmax(volume.voxels)), volume.voxels.shape)
    row_mm, column_mm = volume.pixel_spacing_mm
    at = (
        volume.positions_mm[slice_]
        + volume.row_direction * column_mm * column
        + volume.column_direction * row_mm * line
    )
    right, front, head = (np.array(voxel) - (np.array((6, 8, 10)) - 1) / 2) * (1.0, 2.0, 3.0)
    assert at.tolist() == pytest.approx([-right, -front, head]), "LPS: left and back are positive"


def test_a_volume_keeps_its_units_and_spacing(tmp_path: Path) -> None:
    volume = read_volume(marked_volume(tmp_path, (2, 3, 4)))
    assert volume.voxels.shape == (10, 8, 6)
    assert volume.voxels.dtype == np.float32
    assert volume.voxels.max() == 100
    assert volume.pixel_spacing_mm == pytest.approx((2.0, 1.0))
    assert volume.thickness_mm == pytest.approx(3.0)
    assert np.diff(volume.positions_mm[:, 2]).tolist() == pytest.approx([3.0] * 9)
    assert len({source.sop_instance_uid for source in volume.sources}) == 10
