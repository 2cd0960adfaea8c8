"""What real scanners wrote is read as they meant it."""

from pathlib import Path

import numpy as np
import pytest

from neurotriage.core.errors import Refused
from neurotriage.core.values import Plane, ReasonCode
from neurotriage.dicom.manifest import scan_folder
from tests.eligibility.rule import RULE
from worker.eligibility import refused_by_pixels
from worker.imaging import BuiltVolume, build_volume, decode_frame, pixel_facts


def test_one_picture_in_six_real_syntaxes_is_the_same(data_dir: Path) -> None:
    folder = data_dir / "dicom" / "odd" / "ct_head_one_slice_six_syntaxes"
    lossless = ("CT2_RLE", "CT2_JPLL", "CT2_JLSL", "CT2_J2KR")
    pictures = [decode_frame(path) for path in sorted(folder.rglob("*")) if path.name in lossless]
    assert len(pictures) == len(lossless)
    for other in pictures[1:]:
        np.testing.assert_array_equal(other, pictures[0])


def _built(folder: Path) -> list[BuiltVolume]:
    (study,) = scan_folder(folder).studies
    return [build_volume(series, RULE) for series in study.series]


def test_a_tilted_ct_keeps_its_positions_and_uneven_steps(data_dir: Path) -> None:
    (built,) = _built(data_dir / "dicom" / "brain_ct_ge_tilt_infarct")
    volume = built.volume
    assert built.missing is None
    assert built.left_out == ()
    np.testing.assert_allclose(np.diff(volume.positions_mm[:, 2])[:4], [4.2, 4.2, 1.1, 7.4], atol=0.05)
    np.testing.assert_allclose(volume.positions_mm[:, :2], np.tile([-125.0, -123.5], (9, 1)), atol=0.1)
    brain = volume.voxels[4, 200:300, 200:300]
    assert 20 < np.median(brain) < 45  # HU of brain tissue


def test_vertex_to_base_numbering_is_sorted_upwards(data_dir: Path) -> None:
    built = _built(data_dir / "dicom" / "brain_mr_philips_flair_t2star_tumour")
    assert sorted((len(b.volume.voxels), b.volume.sequence) for b in built) == [(6, "T2"), (22, "FLAIR")]
    for item in built:
        assert item.missing is None
        assert (np.diff(item.volume.positions_mm[:, 2]) > 0).all()
        numbers = [source.instance_number or 0 for source in item.volume.sources]
        assert numbers == sorted(numbers, reverse=True)


def test_an_enhanced_object_becomes_a_sagittal_volume(data_dir: Path) -> None:
    built = _built(data_dir / "dicom" / "brain_mr_siemens_enhanced_t1_multi")
    (volume,) = [item.volume for item in built if item.volume.sequence == "T1"]
    assert volume.voxels.shape == (96, 128, 128)
    assert volume.plane is Plane.SAGITTAL
    assert {source.frame for source in volume.sources} == set(range(1, 97))


def test_an_interior_hole_is_noticed_in_a_real_series(data_dir: Path) -> None:
    folder = data_dir / "dicom" / "brain_mr_ge_pd_axial"
    (study,) = scan_folder(folder).studies
    (series,) = study.series
    kept = series.instances[:8] + series.instances[9:]
    built = build_volume(type(series)(series.series_instance_uid, series.modality, kept), RULE)
    assert built.missing is not None
    assert built.missing.code is ReasonCode.MISSING_IMAGES
    assert build_volume(series, RULE).missing is None


def test_an_empty_skull_is_no_head_whatever_its_header_says(data_dir: Path) -> None:
    (built,) = _built(data_dir / "dicom" / "not_a_brain" / "skull_phantom_ct_says_trauma_head")
    reason = refused_by_pixels(pixel_facts(built.volume), RULE)
    assert reason is not None
    assert reason.code is ReasonCode.NOT_A_HEAD


def test_no_real_file_ends_in_anything_but_pixels_or_a_reason(data_dir: Path) -> None:
    files = [path for path in sorted((data_dir / "dicom").rglob("*")) if path.is_file()]
    refused = 0
    for path in files:
        try:
            finite = bool(np.isfinite(decode_frame(path)).all())
        except Refused:
            refused += 1
            continue
        assert finite, path
    assert 0 < refused < len(files) / 2


@pytest.mark.parametrize("name", ["46341", "65535"])
def test_real_lying_sizes_are_refused(data_dir: Path, name: str) -> None:
    (path,) = (data_dir / "dicom" / "odd" / "lying_size").glob(f"*{name}.dcm")
    with pytest.raises(Refused):
        decode_frame(path)
