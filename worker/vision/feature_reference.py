"""What the features of training slices look like, and how far from them a slice may be."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class FeatureReference:
    """A Gaussian of the features of training slices, and which distances from it are ordinary.

    Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018; the
    channels beyond the principal axes count by their common deviation.
    """

    weights: NDArray[np.float32]  # (channels,) put the network's maps on one scale
    mean: NDArray[np.float32]  # (channels,) of the weighed features
    axes: NDArray[np.float16]  # (n, channels) principal axes of these
    deviations: NDArray[np.float32]  # (n,) along the axes
    rest: NDArray[np.float32]  # () root mean square distance from the space of the axes
    near: NDArray[np.float32]  # () distance that scores 0: the median of validation slices
    far: NDArray[np.float32]  # () distance that scores 1

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Features (n, channels) to (n,): 0 = like the training data, 1 = unlike anything seen."""
        scaled = (self.distance(features) - self.near) / (self.far - self.near)
        result: NDArray[np.float64] = np.clip(scaled, 0.0, 1.0).astype(np.float64)
        return result

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mahalanobis distance (n,) in units of its expected size."""
        offset = features * self.weights - self.mean
        axes = self.axes.astype(np.float32)
        along = offset @ axes.T
        beyond = np.linalg.norm(offset - along @ axes, axis=1) / self.rest
        result: NDArray[np.float32] = np.sqrt(np.mean((along / self.deviations) ** 2, axis=1) + beyond**2)
        return result
