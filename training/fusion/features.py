"""Features of pairs from the frozen encoders: computed once, a few times augmented, kept in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data.samples import UNLABELLED, depth_of, seen_box, stored_px
from training.fit.augment import Slices, augmented, uniform
from training.fit.augment_ct import ct_augmented
from training.fusion.pairs import Pair, Picture
from worker.vision.engines import Engine, open_engine
from worker.vision.engines.eager import folded
from worker.vision.network.fusion import MODALITIES, FusionNet, channels_of
from worker.vision.registry import ModelCard, read_cards
from worker.vision.registry.loading import load_network
from worker.vision.series.predict import slice_features
from worker.vision.slices.preprocess import network_inputs

BATCH_SLICES = 32
VOLUME_SCALE = (0.6, 1.0)  # how small a head may look in the box of its whole series
ABSENT = -1
MIN_SHARE, MIN_DEVIATION = 0.1, 1e-3  # of the channels' median, and at all


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """A frozen network of the registry, through which the fusion sees one modality."""

    card: ModelCard
    engine: Engine

    @property
    def stored_px(self) -> int:
        """Side of the stored pictures that it wants."""
        return stored_px(self.card.input_px)

    def features(self, pictures: Sequence[Picture], altered: bool) -> Tensor:
        """(n, C) ``pooled`` and ``deepest`` of n >= 1 stored pictures, as they are or augmented."""
        see = self._altered if altered else self._plain
        batches = [pictures[i : i + BATCH_SLICES] for i in range(0, len(pictures), BATCH_SLICES)]
        return torch.cat([slice_features(self.engine(see(np.stack(batch)))) for batch in batches])

    def _plain(self, pictures: Picture) -> Tensor:
        return torch.from_numpy(network_inputs(pictures, seen_box(pictures.shape[-1]), self.card.input_px))

    def _altered(self, pictures: Picture) -> Tensor:
        count, images = len(pictures), torch.from_numpy(pictures)[:, None].float() / 255
        unknown = torch.full((count,), UNLABELLED)
        depths = torch.from_numpy(np.stack([depth_of(picture) for picture in pictures]))[:, None].float()
        raw = Slices(
            images, torch.zeros_like(images), depths, unknown, unknown, torch.zeros(count, dtype=torch.bool)
        )
        change = ct_augmented if self.card.modality == "CT" else augmented
        return change(raw, uniform(count, *VOLUME_SCALE), self.card.input_px).images


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of pairs; one row per grey image and view of a pair."""

    ct: Tensor  # (n, C)
    mr: Tensor  # (m, D)
    pair: Tensor  # (rows,) which pair it is of
    ct_row: Tensor  # (rows,) into ``ct``, or ABSENT
    mr_row: Tensor  # (rows,) into ``mr``, or ABSENT

    @property
    def given(self) -> Tensor:
        """(rows, 2) whether CT and MR are there."""
        return torch.stack([self.ct_row, self.mr_row], 1) != ABSENT

    def inputs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """CT and MR features of rows (n,); where a part is absent, any other stands in for it."""
        return self.ct[self.ct_row[rows].clamp_min(0)], self.mr[self.mr_row[rows].clamp_min(0)]


@dataclass(frozen=True, slots=True, eq=False)
class PairFeatures:
    """Pairs and the features of their pictures."""

    pairs: Sequence[Pair]
    features: Features


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Mean and deviation (C,) of features, by which they are scaled while the fusion learns."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, table: Tensor) -> "Scale":
        """From features (n, C); a channel that hardly varies is not blown up."""
        deviation = table.std(0, correction=0)
        least = max(MIN_SHARE * float(deviation.median()), MIN_DEVIATION)
        return cls(table.mean(0), deviation.clamp_min(least))


def scaled(features: Features, scales: Sequence[Scale]) -> Features:
    """CT and MR features with mean 0 and deviation 1."""
    ct, mr = ((t - s.mean) / s.deviation for t, s in zip((features.ct, features.mr), scales, strict=True))
    return replace(features, ct=ct, mr=mr)


@torch.no_grad()
def fold(network: FusionNet, scales: Sequence[Scale]) -> None:
    """Put the scaling into the projections, so that the network takes features as encoders give them."""
    for projection, scale in zip((network.project_ct, network.project_mr), scales, strict=True):
        projection.weight.div_(scale.deviation)
        projection.bias.sub_(projection.weight @ scale.mean)


def without(given: Tensor, left_out: int | None) -> Tensor:
    """``given`` (n, 2) with CT (0) or MR (1) left out where the other is there."""
    kept = given.clone()
    if left_out is not None:
        kept[given.all(1), left_out] = False
    return kept


def encoder(name: str, modality: str, weights_dir: Path, engine: str) -> Encoder:
    """A network of the registry, run by one of ``worker.vision.engines``. Raises ValueError, BadWeights."""
    card = read_cards(weights_dir).card(name)
    if card.modality != modality or card.members:
        raise ValueError(f"{name} is no single {modality} network")
    network = folded(load_network(card, weights_dir))
    return Encoder(card, open_engine(engine, network, card, None, torch.get_num_threads()))


@torch.no_grad()
def features_of(pairs: Sequence[Pair], encoders: tuple[Encoder, Encoder], views: int) -> Features:
    """The pairs as they are, and ``views`` - 1 times augmented."""
    ct_at = {place: row for row, place in enumerate(p for p, pair in enumerate(pairs) if pair.ct is not None)}
    ct_pictures = [pair.ct for pair in pairs if pair.ct is not None]
    # Many pairs share the pictures of one MR slice, which are seen once.
    mr_pictures = {id(picture): picture for pair in pairs for picture in pair.mr}
    mr_at = {name: row for row, name in enumerate(mr_pictures)}
    tables: dict[str, list[Tensor]] = {modality: [] for modality in MODALITIES}
    rows: list[tuple[int, int, int]] = []
    for view in range(views):
        shown = (ct_pictures, list(mr_pictures.values()))
        for modality, some, seen_by in zip(MODALITIES, shown, encoders, strict=True):
            if some:
                tables[modality].append(seen_by.features(some, altered=view > 0))
        for place, pair in enumerate(pairs):
            ct_row = ct_at[place] + view * len(ct_at) if place in ct_at else ABSENT
            rows += [(place, ct_row, mr_at[id(picture)] + view * len(mr_at)) for picture in pair.mr]
            rows += [] if pair.mr else [(place, ct_row, ABSENT)]
    ct, mr = (_table(tables[m], seen_by) for m, seen_by in zip(MODALITIES, encoders, strict=True))
    return Features(ct, mr, *torch.tensor(rows, dtype=torch.long).reshape(-1, 3).T)


def _table(parts: list[Tensor], seen_by: Encoder) -> Tensor:
    """The views one below the other; a single row of zeros where there is none of a modality."""
    if parts:
        return torch.cat(parts)
    return torch.zeros(1, sum(channels_of(seen_by.card.architecture)))
