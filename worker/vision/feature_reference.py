"""The distribution of the features of training slices, and the distance of other slices from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class FeatureReference:
    """A Gaussian of the features of training slices, and the distances between which its score rises.

    Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018. Beyond
    the principal axes all directions share one deviation.
    """

    weights: NDArray[np.float32]  # (channels,) bring the features onto one scale
    mean: NDArray[np.float32]  # (channels,) of the weighted features
    axes: NDArray[np.float16]  # (n, channels) principal axes of these
    deviations: NDArray[np.float32]  # (n,) along the axes
    rest: NDArray[np.float32]  # () root mean square distance from the space of the axes
    near: NDArray[np.float32]  # () distance that scores 0: the median of validation slices
    far: NDArray[np.float32]  # () distance that scores 1

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Out-of-distribution scores (n,) in 0..1 of features (n, channels); 0 is like the training data."""
        scaled = (self.distance(features) - self.near) / (self.far - self.near)
        result: NDArray[np.float64] = np.clip(scaled, 0.0, 1.0).astype(np.float64)
        return result

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mahalanobis distance (n,) of features (n, channels), as a mean over the axes instead of a sum."""
        offset = features * self.weights - self.mean
        axes = self.axes.astype(np.float32)
        along = offset @ axes.T
        beyond = np.linalg.norm(offset - along @ axes, axis=1) / self.rest
        result: NDArray[np.float32] = np.sqrt(np.mean((along / self.deviations) ** 2, axis=1) + beyond**2)
        return result
