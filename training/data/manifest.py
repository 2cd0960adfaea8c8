"""Manifests of two-dimensional slices: one row per image file, which holds one or more grey images.

Columns: path, mask, modality, sequence, plane, label, tumour, grade, death, source, group, slice, split,
pair (all but ``path`` may be empty or missing). Paths are relative to the manifest's folder. A row whose
``sequence`` joins several names with "|" holds that many grey images of one slice as colour channels.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SERIES_FILE = "mr/figshare_series.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """One image file and what is known of it; None where the manifest is silent."""

    path: Path
    mask: Path | None
    modality: str
    sequences: tuple[str, ...]
    plane: str
    label: str
    tumour: bool | None
    grade: int | None
    source: str
    group: str
    split: str
    series: str  # what the bootstrap resamples: the group, or a finer proxy of it
    death: bool | None = None  # vital status of the patient
    pair: str = ""  # names the CT and the MR row of one place in one head


@dataclass(frozen=True, slots=True)
class Manifest:
    """The rows of one modality, and how many of others were left out."""

    rows: tuple[Row, ...]
    skipped: int

    def of_split(self, split: str) -> tuple[Row, ...]:
        """The rows of one split, in the order of the file."""
        return tuple(row for row in self.rows if row.split == split)


def read(path: Path, modality: str) -> Manifest:
    """Read a manifest; rows of another modality are counted and left out.

    Raises ValueError where a group is in more than one split, or a grade is no whole number.
    """
    series = _series(path.parent / SERIES_FILE)
    with path.open(newline="", encoding="utf-8") as lines:
        rows = [_row(record, path.parent, series) for record in csv.DictReader(lines)]
    kept = tuple(row for row in rows if row.modality in ("", modality))
    straddling = _straddling(kept)
    if straddling:
        raise ValueError(f"groups in more than one split: {sorted(straddling)[:5]}")
    return Manifest(kept, len(rows) - len(kept))


def grey_images(row: Row) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The name of the sequence and the grey image, uint8 (rows, columns), of each distinct one of a row.

    Raises OSError where the file cannot be read.
    """
    with Image.open(row.path) as image:
        if len(row.sequences) < 2:
            yield (row.sequences or ("unknown",))[0], np.asarray(image.convert("L"))
            return
        colours = np.asarray(image.convert("RGB"))
    yielded: set[str] = set()
    for channel, name in enumerate(row.sequences):
        if name not in yielded:  # a missing sequence is stored as a copy of another one
            yielded.add(name)
            yield name, np.ascontiguousarray(colours[..., channel])


def mask_of(row: Row) -> NDArray[np.bool_] | None:
    """The lesion mask (rows, columns) of a row, on the grid of its picture; None where there is none."""
    if row.mask is None:
        return None
    with Image.open(row.mask) as image:
        return np.asarray(image.convert("L")) > 127


def _series(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as lines:
        return {record["path"]: record["series"] for record in csv.DictReader(lines)}


def _row(record: dict[str, str | None], folder: Path, series: dict[str, str]) -> Row:
    def text(name: str) -> str:
        return (record.get(name) or "").strip()

    path, mask = text("path"), text("mask")
    group = text("group") or path
    return Row(
        path=folder / path,
        mask=folder / mask if mask else None,
        modality=text("modality"),
        sequences=tuple(filter(None, text("sequence").split("|"))),
        plane=text("plane"),
        label=text("label") or "unknown",
        tumour={"1": True, "0": False}.get(text("tumour")),
        grade=int(text("grade")) if text("grade") else None,
        source=text("source") or "unknown",
        group=group,
        split=text("split"),
        series=series.get(path, group),
        death={"1": True, "0": False}.get(text("death")),
        pair=text("pair"),
    )


def _straddling(rows: Iterable[Row]) -> set[str]:
    splits: dict[str, str] = {}
    return {row.group for row in rows if splits.setdefault(row.group, row.split) != row.split}
