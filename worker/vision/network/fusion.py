"""The fusion network, which classifies a CT and an MR slice of the same position in the head together.

It has no encoder. Its inputs are outputs of a ``SliceNet`` per modality: ``pooled``, the average of the
decoder's stride-8 map, and ``deepest``, that of the encoder's last map; so one forward pass of each encoder
serves detection, fusion and explanation. The gradient of a score with respect to ``pooled`` is, up to a
constant factor, that with respect to each pixel of the stride-8 map: Grad-CAM of the fused score is exact, as
fine as that of the single network, and separate for CT and MR.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.vision.network.slice_net import ARCHITECTURES, CLASSES

PROJECTED = 512  # of each modality
HIDDEN, SMALL_HIDDEN = 256, 128  # units of the heads for the class, and for stage and survival
DROPOUT = 0.3
MODALITIES = ("CT", "MR")  # in the order in which they are concatenated


class FusionOutputs(NamedTuple):
    """Outputs for N pairs of slices; all are logits, not probabilities."""

    classes: Tensor  # (N, 3) in the order of CLASSES
    grade: Tensor  # (N,) a glioma of WHO grade 3 rather than 2
    survival: Tensor  # (N,) the patient died


def channels_of(architecture: str) -> tuple[int, int]:
    """The numbers of channels of ``pooled`` and ``deepest`` of an architecture. Raises ``KeyError``."""
    shape = ARCHITECTURES[architecture]
    return shape.feature_channels, shape.encoder_channels[3]


class FusionNet(nn.Module):
    """Inputs ``ct`` and ``mr`` (N, C): ``pooled`` and ``deepest`` of the slices, concatenated in this order.

    ``architectures``: of the two encoders, CT first. ``given`` (N, 2), bool: which modalities are present, at
    least one; a missing one counts as zeros after its projection, whatever its tensor holds.
    """

    def __init__(self, architectures: tuple[str, str]) -> None:
        super().__init__()
        self.architectures = architectures
        self.project_ct, self.project_mr = (
            nn.Linear(sum(channels_of(name)), PROJECTED) for name in architectures
        )
        wide = PROJECTED * len(MODALITIES)
        self.first, self.classes = nn.Linear(wide, HIDDEN), nn.Linear(HIDDEN, len(CLASSES))
        self.grade, self.survival = _small_head(wide), _small_head(wide)

    def forward(self, ct: Tensor, mr: Tensor, given: Tensor) -> FusionOutputs:
        return self.heads(self.embedding(ct, mr, given))

    def embedding(self, ct: Tensor, mr: Tensor, given: Tensor) -> Tensor:
        """(N, 1024) of norm 1: the two projections concatenated."""
        return functional.normalize(self._joined(ct, mr, given), dim=1)

    def heads(self, embedding: Tensor) -> FusionOutputs:
        """The outputs for N embeddings (N, 1024)."""
        hidden = functional.dropout(functional.relu(self.first(embedding)), DROPOUT, self.training)
        return FusionOutputs(
            self.classes(hidden), self.grade(embedding).squeeze(1), self.survival(embedding).squeeze(1)
        )

    def pooled_gradients(
        self, ct: Tensor, mr: Tensor, given: Tensor, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(N, C) for CT and for MR: gradient of a score with respect to ``pooled`` of each.

        The score is the sum of the class logits times ``weights`` (N, 3); without them, the tumour's logit.
        The backward pass through heads, normalisation and projections in closed form; for evaluation mode.
        """
        joined = self._joined(ct, mr, given)
        length = joined.norm(dim=1, keepdim=True)
        embedding = joined / length
        before = self.first(embedding)
        if weights is None:
            weights = tumour_weights(self.classes(functional.relu(before)))
        back = ((weights @ self.classes.weight) * (before > 0)) @ self.first.weight
        back = (back - embedding * (embedding * back).sum(1, keepdim=True)) / length
        of_ct, of_mr = torch.split(back * given.repeat_interleave(PROJECTED, 1), PROJECTED, 1)
        pooled_ct, pooled_mr = (channels_of(name)[0] for name in self.architectures)
        return (
            of_ct @ self.project_ct.weight[:, :pooled_ct],
            of_mr @ self.project_mr.weight[:, :pooled_mr],
        )

    def _joined(self, ct: Tensor, mr: Tensor, given: Tensor) -> Tensor:
        both = torch.cat([self.project_ct(ct), self.project_mr(mr)], 1)
        return both * given.repeat_interleave(PROJECTED, 1)


def tumour_logit(classes: Tensor) -> Tensor:
    """(N,) logit of any class but healthy, from class logits (N, 3)."""
    return classes[:, 1:].logsumexp(1) - classes[:, 0]


def tumour_weights(classes: Tensor) -> Tensor:
    """(N, 3) gradient of ``tumour_logit`` with respect to the class logits (N, 3)."""
    return torch.cat([-torch.ones_like(classes[:, :1]), classes[:, 1:].softmax(1)], 1)


def _small_head(wide: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, SMALL_HIDDEN), nn.ReLU(), nn.Linear(SMALL_HIDDEN, 1))
