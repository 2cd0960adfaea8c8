"""Pairs of a CT and an MR slice of one place in one head: real ones, synthetic ones, and slices alone.

Real pairs are few and say no more than tumour or none. So a real lesion of an MR slice is put into a CT
slice of somebody else, with the same outline at the same place of the head; and a tumour-free MR slice goes
with such a CT slice as it is. CT slices of both come from the same people, so that the source of the CT
tells nothing. Slices alone stand for studies of one modality.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.manifest import Manifest, Row, grey_images, read
from training.data.samples import STORED_PX, cell_of, stored_picture
from training.data.sources import LESION_FREE
from training.synthetic_ct.hosts import Host, hosts_of
from training.synthetic_ct.lesions import MrLesion, lesions_in
from training.synthetic_ct.masses import fits, with_outline
from training.synthetic_ct.samples import cases_of, volume_hosts
from worker.vision.network import CLASSES
from worker.vision.slices.preprocess import head_box

REAL, SYNTHETIC, ALONE = "real", "synthetic", "alone"
SECTIONS = {"ct_template_head": 90, "ct_template_brain_only": 20}  # of volumes for training only
HOSTS_TRIED = 8  # before a lesion is given up that fits no head
SEED = 60_000

Picture = NDArray[np.uint8]  # (S, S), as ``samples.stored_picture`` makes it


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One place in a head, with what is known of it."""

    kind: str
    ct: Picture | None
    mr: tuple[Picture, ...]  # the grey images of the slice; empty where there is no MR
    tumour: bool | None
    label: str
    source: str
    series: str  # what the bootstrap resamples
    cell: tuple[str, str]  # with which it is drawn in training
    row: Row | None  # of the MR slice

    @property
    def target(self) -> int | None:
        """Index into CLASSES; what has no tumour counts as healthy."""
        if self.tumour is False:
            return 0
        return CLASSES.index(self.label) if self.label in CLASSES else None


def pairs_of(manifest: Path, split: str | None, mr_px: int = STORED_PX, seed: int = SEED) -> tuple[Pair, ...]:
    """All pairs of one split of a manifest, or of all rows; CT, MR and lesion of a pair are of one split.

    ``mr_px`` is the side of the stored MR pictures.
    """
    random = np.random.default_rng(seed)
    mr, ct = (_of_split(read(manifest, modality), split) for modality in ("MR", "CT"))
    hosts = list(hosts_of(ct))
    if split == "train":
        hosts += volume_hosts(manifest.parent, SECTIONS, random)
    alone = [_alone(row, mr_px) for row in mr]
    lesions = [lesion for row in mr if row.plane == "axial" for lesion in lesions_in(row)]
    free = [host for host in hosts if host.source in LESION_FREE and host.has_brain]
    return (
        *_real(alone, ct),
        *(_synthetic(alone, free, random) if free else ()),
        *alone,
        *_ct_alone(hosts, lesions, random),
    )


def _of_split(manifest: Manifest, split: str | None) -> tuple[Row, ...]:
    return manifest.rows if split is None else manifest.of_split(split)


def _real(alone: Sequence[Pair], ct: Sequence[Row]) -> Iterator[Pair]:
    partners = {row.pair: row for row in ct if row.pair}
    for slice_pair in alone:
        if slice_pair.row is not None and slice_pair.row.pair in partners:
            (grey,) = (grey for _, grey in grey_images(partners[slice_pair.row.pair]))
            yield replace(slice_pair, kind=REAL, ct=stored_picture(grey, head_box(grey)))


def _synthetic(alone: Sequence[Pair], hosts: Sequence[Host], random: np.random.Generator) -> Iterator[Pair]:
    for slice_pair in alone:
        if slice_pair.row is None or slice_pair.row.plane != "axial" or slice_pair.row.pair:
            continue
        if slice_pair.tumour is False:
            ct = _byte(hosts[int(random.integers(len(hosts)))].picture)
            yield replace(slice_pair, kind=SYNTHETIC, ct=ct)
        for lesion in lesions_in(slice_pair.row)[:1]:
            with_mass = _same_lesion(lesion, hosts, random)
            if with_mass is not None:
                yield replace(slice_pair, kind=SYNTHETIC, ct=with_mass)


def _same_lesion(lesion: MrLesion, hosts: Sequence[Host], random: np.random.Generator) -> Picture | None:
    """A CT slice with the lesion at its own place; None where it fits none of the heads tried."""
    shape, texture = lesion.region.astype(np.float32), lesion.texture.astype(np.float32) / np.float32(255)
    for _ in range(HOSTS_TRIED):
        host = hosts[int(random.integers(len(hosts)))]
        made = with_outline(host, shape, texture, lesion.water, random) if fits(host, shape) else None
        if made is not None:
            return _byte(made[0])
    return None


def _ct_alone(
    hosts: Sequence[Host], lesions: Sequence[MrLesion], random: np.random.Generator
) -> Iterator[Pair]:
    for host in hosts:
        for case in cases_of(host, random, masses=1, mimics=1, lesions=lesions):
            yield Pair(
                kind=ALONE,
                ct=_byte(case.picture),
                mr=(),
                tumour=case.tumour,
                label="unknown",
                source=host.source,
                series=host.group,
                cell=(f"CT {host.source}", case.kind),
                row=None,
            )


def _alone(row: Row, side_px: int) -> Pair:
    return Pair(
        kind=ALONE,
        ct=None,
        mr=tuple(stored_picture(grey, head_box(grey), side_px) for _, grey in grey_images(row)),
        tumour=row.tumour,
        label=row.label,
        source=row.source,
        series=row.series,
        cell=cell_of(row),
        row=row,
    )


def _byte(unit: NDArray[np.float32]) -> Picture:
    return np.round(unit * 255).astype(np.uint8)
