"""A manifest of drawn slices: bright ellipses, some with a brighter lesion and its mask."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

COLUMNS = ("path", "mask", "modality", "sequence", "label", "tumour", "source", "group", "split")


def slice_picture(lesion: tuple[int, int] | None, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :80]
    picture = np.where(((y - 48) / 40) ** 2 + ((x - 40) / 32) ** 2 < 1, 90.0, 0.0)
    picture += random.normal(0, 5, picture.shape) * (picture > 0)
    mask = np.zeros(picture.shape, bool)
    if lesion is not None:
        mask = np.hypot(y - lesion[0], x - lesion[1]) < 7
        picture[mask] = 220
    return np.clip(picture, 0, 255).astype(np.uint8), mask


def write_manifest(folder: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def toy(tmp_path: Path) -> list[dict[str, str]]:
    """Twelve MR slices of ten patients, two of them three-channel slices of one patient, and one CT."""
    rows = []
    for number in range(12):
        tumour = number % 2 == 0
        picture, mask = slice_picture((40, 30) if tumour else None, number)
        image = Image.fromarray(picture)
        several = number >= 10
        if several:
            image = Image.merge("RGB", [image, image.point(lambda v: v // 2), image])
        image.save(tmp_path / f"{number}.png")
        if tumour:
            Image.fromarray(mask).save(tmp_path / f"{number}_mask.png")
        rows.append(
            {
                "path": f"{number}.png",
                "mask": f"{number}_mask.png" if tumour else "",
                "modality": "MR",
                "sequence": "T1|FLAIR|T1" if several else "T2",
                "label": "malignant" if tumour else ("unknown" if several else "healthy"),
                "tumour": "1" if tumour else "0",
                "source": "lgg" if several else "toy",
                "group": "patient" if several else f"person{number // 2 * 2 + (not tumour)}",
                "split": "test",
            }
        )
    Image.fromarray(slice_picture(None, 99)[0]).save(tmp_path / "ct.png")
    rows.append({**rows[1], "path": "ct.png", "modality": "CT", "group": "ct"})
    return rows
