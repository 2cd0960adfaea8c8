"""A scanner's slices through a patient: geometry, partial volume, noise, inhomogeneity."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.demo.patient import Patient

Field = NDArray[np.float32]

_SAMPLES_PER_SLICE: Final = 2  # across the thickness: partial volume
_UNEVENNESS: Final = 0.05  # deviation of each term of the coil's sensitivity


@dataclass(frozen=True, slots=True)
class Scan:
    """Parallel slices, in order from foot to head. Positions are in DICOM's patient coordinates (LPS, mm).

    ``tilt_deg`` turns the slices about the left-right axis: positive lifts the front.
    """

    slices: int
    matrix: int  # rows = columns
    pixel_mm: float
    step_mm: float
    thickness_mm: float
    centre_mm: tuple[float, float, float]
    tilt_deg: float = 0.0

    @property
    def row_direction(self) -> NDArray[np.float64]:
        """Direction of increasing column index: to the patient's left."""
        return np.array([1.0, 0.0, 0.0])

    @property
    def column_direction(self) -> NDArray[np.float64]:
        """Direction of increasing row index: to the back."""
        tilt = np.deg2rad(self.tilt_deg)
        return np.array([0.0, np.cos(tilt), -np.sin(tilt)])

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.row_direction, self.column_direction)

    def position_mm(self, index: float) -> NDArray[np.float64]:
        """ImagePositionPatient of a slice: the centre of its first pixel (PS3.3 C.7.6.2.1.1)."""
        half = (self.matrix - 1) / 2 * self.pixel_mm
        middle = np.array(self.centre_mm) + self.normal * (index - (self.slices - 1) / 2) * self.step_mm
        return np.asarray(middle - half * (self.row_direction + self.column_direction))


def sample(patient: Patient, values: Field, scan: Scan, outside: float) -> Field:
    """The values in the slices of the scan, (slices, rows, columns), averaged over the slice thickness.

    ``values`` (x, y, z) lie on the patient's grid; beyond it the value is ``outside``.
    """
    pixels = np.arange(scan.matrix) * scan.pixel_mm
    in_plane = (
        scan.row_direction[:, None, None] * pixels[None, None, :]
        + scan.column_direction[:, None, None] * pixels[None, :, None]
    )
    spread = (np.arange(_SAMPLES_PER_SLICE) + 0.5) / _SAMPLES_PER_SLICE - 0.5
    slices = np.zeros((scan.slices, scan.matrix, scan.matrix), np.float32)
    for index in range(scan.slices):
        for part in spread * scan.thickness_mm / scan.step_mm:
            points = scan.position_mm(index + part)[:, None, None] + in_plane
            slices[index] += ndimage.map_coordinates(
                values, _voxel(patient, points), order=1, cval=outside, output=np.float32
            )
    return np.asarray(slices / _SAMPLES_PER_SLICE, np.float32)


def _voxel(patient: Patient, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grid coordinates of patient positions (3, ...): the grid is RAS, positions are LPS."""
    ras = points_mm * np.array([-1.0, -1.0, 1.0])[:, None, None]
    origin = np.array(patient.origin_mm)[:, None, None]
    return np.asarray((ras - origin) / patient.spacing_mm)


def receive(slices: Field, noise: float, seed: int) -> Field:
    """MR: add the coil's uneven sensitivity and Rician noise of deviation ``noise`` (Gudbjartsson 1995)."""
    rng = np.random.default_rng(seed)
    axes = (np.linspace(-1, 1, n, dtype=np.float32) for n in slices.shape)
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    a, b, c, d, e, f = (float(value) for value in rng.normal(0, _UNEVENNESS, 6))
    uneven = slices * (1 + a * x + b * y + c * z + d * x * y + e * (x * x + y * y) + f * y * z)
    real = uneven + noise * rng.standard_normal(slices.shape, np.float32)
    imaginary = noise * rng.standard_normal(slices.shape, np.float32)
    return np.asarray(np.hypot(real, imaginary), np.float32)


def reconstruct(slices: Field, matrix: int, noise_hu: float, seed: int) -> Field:
    """CT: enlarge slices (HU) to the scanner's matrix, and add noise as of filtered back-projection."""
    rng = np.random.default_rng(seed)
    factor = matrix / slices.shape[1]
    out = np.empty((len(slices), matrix, matrix), np.float32)
    for index, image in enumerate(slices):
        grain = rng.standard_normal((matrix, matrix), np.float32)
        grain = ndimage.gaussian_filter(grain, 0.7) - 0.6 * ndimage.gaussian_filter(grain, 1.6)
        out[index] = ndimage.zoom(image, factor, order=1, mode="nearest", grid_mode=True)
        out[index] += noise_hu * grain / grain.std()
    return np.asarray(np.clip(out, -1024, 3071), np.float32)
