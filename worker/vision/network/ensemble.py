"""Several slice networks as one: the mean of their logits."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from worker.vision.network.slice_net import SliceNet, SliceOutputs

MapsOfSlices = tuple[Tensor, Tensor, Tensor]  # features, mask, deepest


class Ensemble(nn.Module):
    """An ensemble (Lakshminarayanan et al., NeurIPS 2017) with the interface of one ``SliceNet``.

    Tumour, class, head and mask logits are the means of the members' logits. ``features``, ``pooled`` and
    ``deepest`` are those of the members concatenated along the channels, so Grad-CAM of the mean logit is
    exact.

    ``mirrored``: each slice is evaluated as it is and with left and right exchanged, which takes twice the
    time; the maps are the means of both.
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

    def maps(self, x: Tensor) -> MapsOfSlices:
        """``features``, ``mask`` and ``deepest`` of the outputs for slices (N, 1, S, S)."""
        views = self.views(x)
        return self.joined([member.maps(views) for member in self.networks], x.shape[0])

    def views(self, x: Tensor) -> Tensor:
        """The slices that each member is run on: N, or N and the N mirrored ones."""
        return torch.cat([x, x.flip(3)]) if self.mirrored else x

    def joined(self, of_members: Sequence[MapsOfSlices], slices: int) -> MapsOfSlices:
        """The maps of N ``slices`` from those of each member for their ``views``."""
        features, masks, deepest = zip(*of_members, strict=True)
        all_features, mask, all_deepest = (
            torch.cat(features, 1),
            torch.stack(masks).mean(0),
            torch.cat(deepest, 1),
        )
        if not self.mirrored:
            return all_features, mask, all_deepest
        return (
            _mirror_mean(all_features, slices),
            _mirror_mean(mask, slices),
            _mirror_mean(all_deepest, slices, ()),
        )

    def heads(self, features: Tensor, mask: Tensor, deepest: Tensor) -> SliceOutputs:
        """The outputs for N slices from their ``maps``."""
        parts = zip(
            self.networks,
            _split(features, self.feature_channels),
            _split(deepest, self.deepest_channels),
            strict=True,
        )
        outputs = [member.heads(own, mask, own_deepest) for member, own, own_deepest in parts]
        return SliceOutputs(
            tumour=torch.stack([output.tumour for output in outputs]).mean(0),
            classes=torch.stack([output.classes for output in outputs]).mean(0),
            mask=mask,
            head=torch.stack([output.head for output in outputs]).mean(0),
            features=features,
            pooled=torch.cat([output.pooled for output in outputs], 1),
            deepest=deepest,
        )

    def tumour_gradient(self, pooled: Tensor) -> Tensor:
        """(N, C) gradient of the mean tumour logit with respect to the averages ``pooled`` (N, C)."""
        parts = zip(self.networks, _split(pooled, self.feature_channels), strict=True)
        gradients = [member.tumour_gradient(own_pooled) for member, own_pooled in parts]
        return torch.cat(gradients, 1) / len(gradients)


Network = SliceNet | Ensemble


def members_of(network: Network) -> tuple[SliceNet, ...]:
    """The members of an ensemble, in order; a ``SliceNet`` is its own only one."""
    return network.networks if isinstance(network, Ensemble) else (network,)


class MemberMaps(NamedTuple):
    """The maps of one member of a network for N slices."""

    features: Tensor  # (N, C, fh, fw)
    pooled: Tensor  # (N, C)
    deepest: Tensor  # (N, D)


def member_maps(network: Network, outputs: SliceOutputs, place: int = 0) -> MemberMaps:
    """The maps of the member at ``place``, the 0-based index in the model card.

    A ``SliceNet`` is its own only member. Raises ``IndexError`` for a member that is not there.
    """
    return MemberMaps(
        _split(outputs.features, network.feature_channels)[place],
        _split(outputs.pooled, network.feature_channels)[place],
        _split(outputs.deepest, network.deepest_channels)[place],
    )


def _mirror_mean(maps: Tensor, slices: int, columns: Sequence[int] = (3,)) -> Tensor:
    """(2N, ...), N ``slices`` and N mirrored ones, to their mean (N, ...); ``columns``: mirrored axes."""
    return (maps[:slices] + maps[slices:].flip(tuple(columns))) / 2


def _split(maps: Tensor, channels: Sequence[int]) -> tuple[Tensor, ...]:
    return torch.split(maps, list(channels), 1)
