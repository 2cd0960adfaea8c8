"""A demo patient: the head, and a lesion that grows in it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.demo.head import Head, Tissue

Field = NDArray[np.float32]

# T1 signal of the template at which a voxel is wholly cerebrospinal fluid, grey matter, white matter.
_FLUID_T1: Final = (62.0, 115.0)
_WHITE_T1: Final = (172.0, 215.0)
_REACH_MM: Final = 48.0  # no part of a lesion (oedema, displaced tissue) is farther from its centre
_EDGE_MM: Final = 0.7  # width of a boundary, from none to all
_PUSHED_SHARE: Final = 0.45  # of a lesion's volume displaces brain; the rest replaces it


@dataclass(frozen=True, slots=True)
class SampleLesion:
    """A tumour to be grown: an ellipsoid with a surface made irregular by noise."""

    centre_mm: tuple[float, float, float]  # template space, RAS
    radii_mm: tuple[float, float, float]
    rim_mm: float  # mean thickness of the solid, enhancing rim round the necrosis
    oedema_mm: float  # how far oedema reaches into the white matter
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """Tissues of one person on the grid of the head, (x, y, z).

    The fields are shares from 0 to 1: ``fluid`` and ``white`` of a voxel of brain (the rest is grey matter),
    ``tumour`` of any voxel, ``necrosis`` of the tumour, ``oedema`` of the brain. ``texture`` is noise with a
    deviation of 1 for the inside of the tumour. Origin and spacing as in ``Head``.
    """

    tissue: NDArray[np.uint8]
    fluid: Field
    white: Field
    tumour: Field
    necrosis: Field
    oedema: Field
    texture: Field
    origin_mm: tuple[float, float, float]
    spacing_mm: float


def patient(head: Head, lesion: SampleLesion | None) -> Patient:
    """The head as it is, or with a lesion grown in it that displaces brain."""
    tissue, t1 = head.tissue.copy(), head.t1.astype(np.float32)
    nothing = np.zeros(tissue.shape, np.float32)
    tumour, necrosis, reach, texture = nothing, nothing, nothing, nothing
    if lesion is not None:
        room = _room(head, lesion)
        offset = _offset_mm(head, lesion, room)
        tissue[room], t1[room] = _pushed(head, lesion, room, offset)
        tumour, necrosis, reach, texture = (nothing.copy() for _ in range(4))
        grown = _grown(lesion, offset)
        for field, values in zip((tumour, necrosis, reach, texture), grown, strict=True):
            field[room] = values
        tumour[(tissue != Tissue.BRAIN) & (tissue != Tissue.CSF)] = 0
    fluid = _share(t1, _FLUID_T1[1], _FLUID_T1[0])
    white = _share(t1, *_WHITE_T1)
    return Patient(
        tissue=tissue,
        fluid=fluid,
        white=white,
        tumour=tumour,
        necrosis=necrosis,
        oedema=_oedema(reach, white, tumour) if lesion is not None else nothing,
        texture=texture,
        origin_mm=head.origin_mm,
        spacing_mm=head.spacing_mm,
    )


def _share(t1: Field, none: float, full: float) -> Field:
    return np.asarray(np.clip((t1 - none) / (full - none), 0, 1), np.float32)


def _room(head: Head, lesion: SampleLesion) -> tuple[slice, slice, slice]:
    """The part of the grid that the lesion can change."""
    centre = (np.array(lesion.centre_mm) - head.origin_mm) / head.spacing_mm
    reach = _REACH_MM / head.spacing_mm
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, head.tissue.shape).astype(int)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def _offset_mm(head: Head, lesion: SampleLesion, room: tuple[slice, slice, slice]) -> Field:
    """Vector from the lesion's centre to each voxel of the room, (3, x, y, z)."""
    axes = [
        np.arange(part.start, part.stop) * head.spacing_mm + origin - centre
        for part, origin, centre in zip(room, head.origin_mm, lesion.centre_mm, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def _pushed(
    head: Head, lesion: SampleLesion, room: tuple[slice, slice, slice], offset: Field
) -> tuple[NDArray[np.uint8], Field]:
    """Tissue and T1 with the brain displaced outwards, like an incompressible body.

    Tissue at radius r came from the cube root of r^3 - share * R^3; the displacement fades towards the skull,
    so that bone stays in place.
    """
    distance = np.maximum(np.linalg.norm(offset, axis=0), 0.5)
    volume = _PUSHED_SHARE * float(np.prod(lesion.radii_mm))
    came_from = np.cbrt(np.maximum(distance**3 - volume, 0.05 * distance**3)) / distance
    inside = np.isin(head.tissue[room], (Tissue.BRAIN, Tissue.CSF, Tissue.DURA, Tissue.VESSEL))
    depth_mm = ndimage.distance_transform_edt(inside) * head.spacing_mm
    fading = np.clip(depth_mm / 12, 0, 1) * np.clip((_REACH_MM - distance) / 12, 0, 1)
    move = (came_from - 1) * fading * offset / head.spacing_mm
    source = np.indices(distance.shape, np.float32) + move
    tissue = ndimage.map_coordinates(head.tissue[room], source, order=0, mode="nearest")
    t1 = ndimage.map_coordinates(
        head.t1[room].astype(np.float32), source, order=1, mode="nearest", output=np.float32
    )
    return tissue, t1


def _grown(lesion: SampleLesion, offset: Field) -> tuple[Field, Field, Field, Field]:
    """Tumour, necrosis and reach of the oedema (shares), and texture, in the room of the lesion."""
    shape = offset.shape[1:]
    coarse, middle, fine, wide = (
        _noise(shape, scale, lesion.seed, number) for number, scale in enumerate((6.0, 3.0, 1.2, 9.0))
    )
    radii = np.array(lesion.radii_mm, np.float32)
    radius = float(radii.mean())
    relative = np.linalg.norm(offset / radii[:, None, None, None], axis=0)
    # Signed distance to the surface: negative inside, irregular in two sizes.
    surface = (relative - 1) * radius + 0.17 * radius * coarse + 0.9 * middle
    rim = np.maximum(lesion.rim_mm * (1 + 0.45 * coarse[::-1] + 0.25 * middle), 1.5)
    tumour = _step(-surface, _EDGE_MM)
    necrosis = _step(-surface - rim, 2 * _EDGE_MM)
    reach = _step(lesion.oedema_mm * (1 + 0.45 * wide) - surface, 2.5)
    fade = np.clip((_REACH_MM - np.linalg.norm(offset, axis=0)) / 6, 0, 1)
    texture = 0.7 * middle + 0.7 * fine
    return tumour, necrosis, (reach * fade).astype(np.float32), texture.astype(np.float32)


def _oedema(reach: Field, white: Field, tumour: Field) -> Field:
    """Oedema: it follows the white matter, which makes it finger-like."""
    matter = ndimage.gaussian_filter(white, 1.0)
    return np.asarray(reach * np.clip(1.25 * matter, 0, 1) * (1 - tumour), np.float32)


def _step(value: Field, width: float) -> Field:
    """A smooth step from 0 to 1 at 0."""
    return np.asarray(1 / (1 + np.exp(-np.clip(value / (width / 2), -30, 30))), np.float32)


def _noise(shape: tuple[int, ...], scale: float, seed: int, number: int) -> Field:
    rng = np.random.default_rng((seed, number))
    field = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), scale)
    return np.asarray(field / field.std(), np.float32)
