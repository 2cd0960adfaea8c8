"""CT training slices: every slice with and without a synthetic mass, so that its source is no sign."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.data.manifest import Row
from training.data.samples import UNLABELLED, Stock, volume_scales
from training.data.volumes import read_rows, read_volume
from training.synthetic_ct.hosts import Grey, Host, Region, end_sections, hosts_of, sections
from training.synthetic_ct.lesions import MrLesion
from training.synthetic_ct.masses import with_mass
from training.synthetic_ct.mimics import harmless, mimic
from worker.vision.network import CT_CLASSES

HEALTHY, MIMIC, TUMOUR = range(len(CT_CLASSES))
VOLUMES_FILE = "volumes.csv"  # beside the manifest
SECTIONS = {"ct_template_head": 300, "ct_template_brain_only": 60}
MASSES, MIMICS = 5, 2  # made of each slice
# Slices of these show nothing but what they are; of the other tumour-free ones the class is not known
# (a bleed is labelled by patient, the atlas has all sorts of disease).
BLEEDS = "headct-haemorrhage"
MIXED = ("brainstroke-bleed", BLEEDS)  # with a mass they may be both

SOURCE_SHARES = {
    "brainstroke-normal": 10.0,
    "headct-normal": 9.0,
    "ct_template_head": 9.0,
    "ct_template_brain_only": 3.5,
    "aanlib-pair": 6.0,
    "brainstroke-bleed": 6.0,
    BLEEDS: 6.0,
    "kaggle-ct3-aneurysm": 2.5,
}
KIND_SHARES = {"mass": 1.0, "plain": 0.75, "harmless": 0.3, "look_alike": 0.5, "no brain": 0.12}
REAL_SHARE = 0.4  # of each source of real tumours: few slices, each source with tumours only


@dataclass(frozen=True, slots=True, eq=False)
class CtCase:
    """A host as it is, or with something put into it; ``mass`` is empty where there is none."""

    host: Host
    kind: str  # of KIND_SHARES, or "real"
    picture: Grey
    mass: Region

    @property
    def tumour(self) -> bool:
        return self.kind in ("mass", "real")

    @property
    def label(self) -> int:
        """Index into CT_CLASSES, or UNLABELLED."""
        if self.kind == "real":
            return TUMOUR
        if self.kind == "mass":
            return UNLABELLED if self.host.source in MIXED else TUMOUR
        if self.kind == "look_alike" or self.host.source == BLEEDS:
            return MIMIC
        return HEALTHY if self.host.row is None or self.host.row.label == "healthy" else UNLABELLED


def cell_shares() -> dict[tuple[str, str], float]:
    """Share of the draws of each (source, kind)."""
    made = {(s, k): a * b for s, a in SOURCE_SHARES.items() for k, b in KIND_SHARES.items()}
    real = {(s, "real"): REAL_SHARE for s in ("ctmr-tumour-pair", "ctmr-tumour-pair-occult")}
    return made | real


def ct_stock(rows: Sequence[Row], folder: Path, seed: int, lesions: Sequence[MrLesion] = ()) -> Stock:
    """Store the training slices of a manifest and of the volumes beside it with what is put into them.

    ``lesions`` lend some of the masses their shape.
    """
    random = np.random.default_rng(seed)
    hosts = [*hosts_of(rows), *volume_hosts(folder, SECTIONS, random)]
    scale_of = dict(zip(map(id, hosts), volume_scales([(h.group, h.box) for h in hosts]), strict=True))
    cases = [case for host in hosts for case in cases_of(host, random, MASSES, MIMICS, lesions)]
    return Stock(
        images=torch.from_numpy(np.stack([_byte(case.picture) for case in cases])),
        masks=torch.from_numpy(np.stack([_byte(case.mass) for case in cases])),
        depths=torch.from_numpy(np.stack([case.host.depth_px for case in cases])),
        tumour=torch.tensor([int(case.tumour) for case in cases]),
        classes=torch.tensor([case.label for case in cases]),
        masked=torch.tensor([case.kind != "real" for case in cases]),
        volume_scale=torch.tensor([float(scale_of[id(case.host)]) for case in cases]),
        cells=tuple((case.host.source, case.kind) for case in cases),
        series=tuple(case.host.group for case in cases),
    )


def volume_hosts(folder: Path, counts: Mapping[str, int], random: np.random.Generator) -> Iterator[Host]:
    """Sections of the CT volumes named in ``counts`` that may be trained on (split "train"), if there."""
    path = folder / VOLUMES_FILE
    for row in read_rows(path) if path.is_file() else ():
        name = row.path.name.split(".")[0]
        if name in counts and row.split == "train":
            volume = read_volume(row)
            yield from sections(volume, counts[name], random, name)
            yield from end_sections(volume, counts[name] // 4, random, name)


def cases_of(
    host: Host,
    random: np.random.Generator,
    masses: int,
    mimics: int,
    lesions: Sequence[MrLesion] = (),
) -> Iterator[CtCase]:
    """The host as it is, and, if it is tumour-free and shows enough brain, with things put into it."""
    nothing = np.zeros(host.picture.shape, bool)
    if host.row is not None and host.row.tumour is not False:
        yield CtCase(host, "real", host.picture, nothing)
        return
    yield CtCase(host, "plain" if host.has_brain else "no brain", host.picture, nothing)
    if not host.has_brain:
        return
    for _ in range(masses):
        made = with_mass(host, random, lesions)
        if made is not None:
            yield CtCase(host, "mass", *made)
    for _ in range(mimics):
        alike = mimic(host, random)
        if alike is not None:
            yield CtCase(host, "look_alike", alike, nothing)
    yield CtCase(host, "harmless", harmless(host, random), nothing)


def _byte(unit: Grey | Region) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.round(np.asarray(unit, np.float32) * 255).astype(np.uint8)
