"""Several slice networks that answer as one: the mean of their logits."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from worker.vision.network.slice_net import SliceNet, SliceOutputs


class Ensemble(nn.Module):
    """Members answer together (Lakshminarayanan et al., NeurIPS 2017); in use like one ``SliceNet``.

    Tumour, class, head and mask logits are the means of the members'. ``features``, ``pooled`` and
    ``deepest`` are theirs side by side along the channels, so Grad-CAM of the mean logit stays exact.

    ``mirrored``: each slice is looked at as it is and with left and right exchanged, which takes twice the
    time; the maps are the means of both looks.
    """

    def __init__(self, members: Sequence[SliceNet], *, mirrored: bool = False) -> None:
        super().__init__()
        self.mirrored = mirrored
        self.members = nn.ModuleList(members)
        self.feature_channels = tuple(n for member in members for n in member.feature_channels)
        self.deepest_channels = tuple(n for member in members for n in member.deepest_channels)

    @property
    def networks(self) -> tuple[SliceNet, ...]:
        """The members, in order."""
        return tuple(cast(SliceNet, member) for member in self.members)

    def forward(self, x: Tensor) -> SliceOutputs:
        return self.heads(*self.maps(x))

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What costs the time: ``features``, ``mask`` and ``deepest`` of the outputs."""
        slices = x.shape[0]
        if self.mirrored:
            x = torch.cat([x, x.flip(3)])
        features, masks, deepest = zip(*(member.maps(x) for member in self.networks), strict=True)
        beside, mask, deepest_beside = (
            torch.cat(features, 1),
            torch.stack(masks).mean(0),
            torch.cat(deepest, 1),
        )
        if not self.mirrored:
            return beside, mask, deepest_beside
        return (
            _mean_look(beside, slices),
            _mean_look(mask, slices),
            _mean_look(deepest_beside, slices, ()),
        )

    def heads(self, features: Tensor, mask: Tensor, deepest: Tensor) -> SliceOutputs:
        """What ``maps`` gave, judged."""
        parts = zip(
            self.networks,
            _split(features, self.feature_channels),
            _split(deepest, self.deepest_channels),
            strict=True,
        )
        said = [member.heads(its_features, mask, its_deepest) for member, its_features, its_deepest in parts]
        return SliceOutputs(
            tumour=torch.stack([one.tumour for one in said]).mean(0),
            classes=torch.stack([one.classes for one in said]).mean(0),
            mask=mask,
            head=torch.stack([one.head for one in said]).mean(0),
            features=features,
            pooled=torch.cat([one.pooled for one in said], 1),
            deepest=deepest,
        )

    def tumour_gradient(self, pooled: Tensor) -> Tensor:
        """(N, C) gradient of the mean tumour logit with respect to the averages ``pooled`` (N, C)."""
        parts = zip(self.networks, _split(pooled, self.feature_channels), strict=True)
        gradients = [member.tumour_gradient(its_pooled) for member, its_pooled in parts]
        return torch.cat(gradients, 1) / len(gradients)


Network = SliceNet | Ensemble


class MemberMaps(NamedTuple):
    """What one member of a network sees, of N slices."""

    features: Tensor  # (N, C, fh, fw)
    pooled: Tensor  # (N, C)
    deepest: Tensor  # (N, D)


def member_maps(network: Network, outputs: SliceOutputs, place: int = 0) -> MemberMaps:
    """The channels of the outputs that are those of the member at ``place``, in the order of the card's.

    A network of its own is its only member.
    """
    return MemberMaps(
        _split(outputs.features, network.feature_channels)[place],
        _split(outputs.pooled, network.feature_channels)[place],
        _split(outputs.deepest, network.deepest_channels)[place],
    )


def _mean_look(maps: Tensor, slices: int, columns: Sequence[int] = (3,)) -> Tensor:
    """(2N, ...), N ``slices`` as they are and N mirrored, to (N, ...); ``columns`` is the axis to mirror."""
    return (maps[:slices] + maps[slices:].flip(tuple(columns))) / 2


def _split(maps: Tensor, channels: Sequence[int]) -> tuple[Tensor, ...]:
    return torch.split(maps, list(channels), 1)
