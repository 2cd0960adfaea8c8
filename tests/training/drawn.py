"""Drawn heads, volumes and network outputs of which the right answer is known."""

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.training.conftest import COLUMNS, slice_picture, write_manifest
from training.data.manifest import Row
from training.data.samples import UNLABELLED
from training.fit.augment import Slices
from worker.vision.network import SliceOutputs

FIELDS = (*COLUMNS, "plane")


def ct_picture(seed: int = 0, *, ventricles: bool = True) -> NDArray[np.uint8]:
    """A CT slice (220, 200) in the brain window: scalp, skull, brain with grain, two dark ventricles."""
    y, x = np.mgrid[:220, :200]
    radius = np.hypot((y - 110) / 95, (x - 100) / 78)
    picture = np.where(radius < 1, 60.0, 0.0)
    picture[(radius < 0.96) & (radius > 0.86)] = 255
    brain = radius <= 0.86
    picture[brain] = 110 + np.random.default_rng(seed).normal(0, 6, picture.shape)[brain]
    if ventricles:
        picture[(np.abs(y - 105) < 18) & (np.abs(np.abs(x - 100) - 10) < 5)] = 50
    return np.clip(picture, 0, 255).astype(np.uint8)


def row(path: str = "a.png", **changes: object) -> Row:
    """A row of a manifest as ``read`` makes it."""
    known: dict[str, object] = {
        "path": Path(path),
        "mask": None,
        "modality": "MR",
        "sequences": ("T1",),
        "plane": "axial",
        "label": "unknown",
        "tumour": None,
        "grade": None,
        "source": "toy",
        "group": path,
        "split": "train",
        "series": path,
    }
    return Row(**{**known, **changes})  # type: ignore[arg-type]


def write_both(folder: Path) -> Path:
    """A manifest with six MR slices, three of them with a tumour, and four of CT in each of train and val."""
    rows = []
    sources = ("brainstroke-normal", "headct-normal", "headct-haemorrhage", "brainstroke-normal")
    for split, seed in (("train", 0), ("val", 20)):
        for number in range(6):
            tumour, name = number % 2 == 0, f"mr-{split}{number}"
            picture, mask = slice_picture((40, 30) if tumour else None, seed + number)
            Image.fromarray(picture).save(folder / f"{name}.png")
            Image.fromarray(mask).save(folder / f"{name}_mask.png")
            rows.append({
                "path": f"{name}.png", "mask": f"{name}_mask.png" if tumour else "", "modality": "MR",
                "sequence": "FLAIR", "plane": "axial", "label": "malignant" if tumour else "healthy",
                "tumour": str(int(tumour)), "source": "lgg" if number < 3 else "nichart", "group": name,
                "split": split,
            })  # fmt: skip
        for number, source in enumerate(sources):
            name = f"ct-{split}{number}"
            Image.fromarray(ct_picture(seed + number)).save(folder / f"{name}.png")
            rows.append({
                "path": f"{name}.png", "modality": "CT", "sequence": "CT", "plane": "axial",
                "label": "healthy", "tumour": "0", "source": source, "group": name, "split": split,
            })  # fmt: skip
    return write_manifest(folder, rows, FIELDS)


def write_nifti(path: Path, voxels: NDArray[np.floating], spacing_mm: tuple[float, float, float]) -> None:
    """An array (right, front, head) as NIfTI with axes along those of the patient."""
    image = nib.Nifti1Image(voxels.astype(np.float32), np.diag([*spacing_mm, 1.0]))  # type: ignore[no-untyped-call]
    nib.save(image, path)  # type: ignore[no-untyped-call]


def slices(
    images: torch.Tensor,
    masks: torch.Tensor | None = None,
    tumour: list[int] | None = None,
    masked: list[bool] | None = None,
    depth: float = 30.0,
) -> Slices:
    """Images (N, S, S) with their truth; without more nothing is known of them, all lies deep in a head."""
    count = len(images)
    unknown = torch.full((count,), UNLABELLED)
    return Slices(
        images=images[:, None],
        masks=torch.zeros_like(images)[:, None] if masks is None else masks[:, None],
        depths=torch.full_like(images, depth)[:, None],
        tumour=unknown if tumour is None else torch.tensor(tumour),
        classes=unknown,
        masked=torch.tensor(masked if masked is not None else [False] * count),
    )


def outputs(count: int, side: int = 4, channels: int = 2, **changes: torch.Tensor) -> SliceOutputs:
    """Outputs of a network that is undecided in all respects."""
    undecided = {
        "tumour": torch.zeros(count),
        "classes": torch.zeros(count, 3),
        "mask": torch.zeros(count, 1, side, side),
        "head": torch.zeros(count),
        "features": torch.ones(count, channels, side, side),
        "pooled": torch.ones(count, channels),
        "deepest": torch.ones(count, channels),
    }
    return SliceOutputs(**{**undecided, **changes})
