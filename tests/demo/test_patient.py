"""The demo's head, and the lesion that is grown in it."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.demo.contrast import CT, FLAIR, T1_AFTER_CONTRAST, Contrast, signal
from neurotriage.demo.head import Head, Tissue, load_head
from neurotriage.demo.patient import Patient, SampleLesion, patient
from neurotriage.demo.studies import CT_LESION, MR_LESION

LESIONS = pytest.mark.parametrize("lesion", [MR_LESION, CT_LESION], ids=["mr", "ct"])


@cache
def head() -> Head:
    return load_head()


@cache
def grown(lesion: SampleLesion | None) -> Patient:
    """Each patient once for all tests: growing one takes seconds."""
    return patient(head(), lesion)


def centre_mm(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """The centre of mass in the template's space."""
    return np.array(ndimage.center_of_mass(weights)) * head().spacing_mm + head().origin_mm


@pytest.mark.unit
def test_every_voxel_of_the_head_is_a_known_tissue() -> None:
    assert set(np.unique(head().tissue)) == {int(tissue) for tissue in Tissue}
    assert head().t1.shape == head().tissue.shape


@pytest.mark.unit
def test_the_brain_is_as_large_as_a_brain_and_touches_no_air() -> None:
    brain = head().tissue == Tissue.BRAIN
    assert not (ndimage.binary_dilation(brain) & (head().tissue == Tissue.AIR)).any()
    litres = brain.sum() * head().spacing_mm ** 3 / 1e6
    assert 1.2 < litres < 2.2


@pytest.mark.unit
def test_the_head_has_an_eye_on_either_side_in_front() -> None:
    eyes, count = ndimage.label(head().tissue == Tissue.VITREOUS)
    assert count >= 2
    sizes = ndimage.sum_labels(np.ones_like(eyes), eyes, range(1, count + 1))
    first, second = (centre_mm((eyes == label).astype(np.float32)) for label in np.argsort(sizes)[-2:] + 1)
    assert first[0] * second[0] < 0, "both on one side"
    assert abs(first[0] + second[0]) < 2, "not symmetric"
    assert min(first[1], second[1]) > 40, "not in front"
    lens_mm = centre_mm((head().tissue == Tissue.LENS).astype(np.float32))
    assert lens_mm[1] > max(first[1], second[1]), "a lens behind its eye"


def test_without_a_lesion_the_head_stays_as_it_is() -> None:
    person = grown(None)
    np.testing.assert_array_equal(person.tissue, head().tissue)
    assert not person.tumour.any()
    assert not person.necrosis.any()
    assert not person.oedema.any()


@LESIONS
def test_shares_are_shares(lesion: SampleLesion) -> None:
    person = grown(lesion)
    for field in (person.fluid, person.white, person.tumour, person.necrosis, person.oedema):
        assert 0 <= field.min() <= field.max() <= 1
    assert (person.fluid + person.white).max() <= 1, "grey matter would be less than nothing"


@LESIONS
def test_a_tumour_grows_where_it_was_put_and_as_large(lesion: SampleLesion) -> None:
    person = grown(lesion)
    assert np.linalg.norm(centre_mm(person.tumour) - lesion.centre_mm) < 5
    volume_mm3 = person.tumour.sum() * person.spacing_mm**3
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * np.prod(lesion.radii_mm), rel=0.35)


@LESIONS
def test_a_tumour_grows_in_the_brain_alone(lesion: SampleLesion) -> None:
    person = grown(lesion)
    assert set(np.unique(person.tissue[person.tumour > 0])) <= {Tissue.BRAIN, Tissue.CSF}


@LESIONS
def test_a_tumour_pushes_brain_and_no_bone(lesion: SampleLesion) -> None:
    person = grown(lesion)
    for tissue in (Tissue.BONE, Tissue.MARROW, Tissue.SKIN, Tissue.FAT):
        np.testing.assert_array_equal(person.tissue == tissue, head().tissue == tissue)
    assert (person.white != grown(None).white).any()


@LESIONS
def test_necrosis_is_within_the_rim_and_oedema_without(lesion: SampleLesion) -> None:
    person = grown(lesion)
    edge_of_necrosis = person.necrosis > 0.5
    assert edge_of_necrosis.any()
    assert person.tumour[edge_of_necrosis].min() > 0.5
    assert person.oedema[person.tumour > 0.99].max() < 0.02
    oedema_mm3, tumour_mm3 = person.oedema.sum(), person.tumour.sum()
    assert oedema_mm3 > 0.3 * tumour_mm3


def test_a_thicker_rim_leaves_less_necrosis() -> None:
    solid = grown(replace(MR_LESION, rim_mm=40.0))
    assert solid.necrosis.sum() < 0.2 * grown(MR_LESION).necrosis.sum()


def test_the_same_seed_grows_the_same_tumour_and_another_one_another() -> None:
    again = patient(head(), MR_LESION)
    np.testing.assert_array_equal(again.tumour, grown(MR_LESION).tumour)
    other = grown(replace(MR_LESION, seed=8))
    assert not np.array_equal(other.tumour, again.tumour)


def test_a_lesion_leaves_the_loaded_head_alone() -> None:
    before = head().tissue.copy(), head().t1.copy()
    patient(head(), CT_LESION)
    np.testing.assert_array_equal(head().tissue, before[0])
    np.testing.assert_array_equal(head().t1, before[1])


@pytest.mark.parametrize("contrast", [T1_AFTER_CONTRAST, FLAIR, CT], ids=["T1", "FLAIR", "CT"])
def test_each_tissue_has_its_value(contrast: Contrast) -> None:
    healthy = signal(grown(None), contrast)
    for tissue, value in contrast.others.items():
        shown = healthy[head().tissue == tissue]
        np.testing.assert_allclose(shown, value, atol=1e-3)
    assert set(contrast.others) == set(Tissue) - {Tissue.BRAIN}
    person = grown(None)
    pure = {contrast.white: person.white == 1, contrast.fluid: person.fluid == 1}
    for value, where in pure.items():
        np.testing.assert_allclose(healthy[where & (person.tissue == Tissue.BRAIN)], value, atol=1e-3)


def test_a_lesion_looks_as_radiologists_know_it() -> None:
    """The rim enhances on T1, oedema is bright on FLAIR and dark on CT, fluid dark on FLAIR."""
    person = grown(MR_LESION)
    t1, flair, ct = (signal(person, contrast) for contrast in (T1_AFTER_CONTRAST, FLAIR, CT))
    rim = (person.tumour > 0.95) & (person.necrosis < 0.05)
    core = person.necrosis > 0.95
    oedema = (person.oedema > 0.8) & (person.tumour < 0.05)
    white = (person.white > 0.95) & (person.oedema < 0.05) & (person.tissue == Tissue.BRAIN)
    fluid = (person.fluid > 0.95) & (person.tissue == Tissue.BRAIN)
    assert t1[rim].mean() > 1.4 * t1[white].mean() > 1.4 * t1[core].mean()
    assert flair[oedema].mean() > 1.5 * flair[white].mean() > 1.5 * flair[fluid].mean()
    assert ct[fluid].mean() < ct[oedema].mean() < ct[white].mean() < ct[rim].mean()
