"""The slice network: an encoder, a top-down decoder and small heads; one class for every architecture.

Decoder: a feature pyramid (Lin et al., CVPR 2017). The heads use the global average of the pyramid's
stride-8 map only, so Grad-CAM (Selvaraju et al., ICCV 2017) needs no backward pass through the network: the
gradient of a logit with respect to a feature is that with respect to its average / (h * w), everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.vision.network.encoders import EfficientNetLite0, MobileNetV2, ResNet50
from worker.vision.network.layers import ConvNorm, Maps, enlarged

CLASSES = ("healthy", "benign", "malignant")
CT_CLASSES = ("healthy", "look_alike", "tumour")  # second: haemorrhage, infarct or surgical clip
CLASSES_OF = {"MR": CLASSES, "CT": CT_CLASSES}  # by modality; equally many, so that one network serves both
DROPOUT = 0.2  # before the heads, where they share a dense layer


@dataclass(frozen=True, slots=True)
class Architecture:
    """The parameters in which networks differ: numbers of channels, and units of the dense layer."""

    encoder: Callable[[], nn.Module]
    encoder_channels: tuple[int, int, int, int]  # of its maps at stride 4, 8, 16 and 32
    feature_channels: int  # of the map that the heads average
    mask_channels: int
    dense: int = 0  # units of a layer (ReLU) that the heads share; 0: each head is linear in the average


EFFICIENTNET_LITE0, RESNET50, MOBILENET_V2 = "efficientnet-lite0", "resnet50", "mobilenet-v2"
ARCHITECTURES = {
    EFFICIENTNET_LITE0: Architecture(EfficientNetLite0, (24, 40, 112, 1280), 128, 48),
    RESNET50: Architecture(ResNet50, (256, 512, 1024, 2048), 128, 48),
    MOBILENET_V2: Architecture(MobileNetV2, (24, 32, 96, 1280), 64, 32, dense=128),
}


class SliceOutputs(NamedTuple):
    """Outputs for N slices; all scores are logits, not probabilities."""

    tumour: Tensor  # (N,) tumour on this slice
    classes: Tensor  # (N, 3) in the order of CLASSES_OF the modality
    mask: Tensor  # (N, 1, h, w) lesion, at stride 4
    head: Tensor  # (N,) a head slice with brain
    features: Tensor  # (N, C, fh, fw) the map that the heads average, at stride 8
    pooled: Tensor  # (N, C) the average
    deepest: Tensor  # (N, D) average of the encoder's last map


class Decoder(nn.Module):
    """Top-down pyramid: the maps of an encoder to ``features`` and ``mask`` of ``SliceOutputs``."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        wide, slim = architecture.feature_channels, architecture.mask_channels
        at4, at8, at16, at32 = architecture.encoder_channels
        self.from32 = ConvNorm(at32, wide, 1)
        self.from16 = ConvNorm(at16, wide, 1)
        self.from8 = ConvNorm(at8, wide, 1)
        self.from4 = ConvNorm(at4, slim, 1)
        self.merge16 = ConvNorm(wide, wide, 3)
        self.merge8 = ConvNorm(wide, wide, 3)
        self.narrow = ConvNorm(wide, slim, 1)
        self.merge4 = ConvNorm(slim, slim, 3)
        self.mask = nn.Conv2d(slim, 1, 1)

    def forward(self, maps: Maps) -> tuple[Tensor, Tensor]:
        at4, at8, at16, at32 = maps
        merged = self.merge16(self.from16(at16) + enlarged(self.from32(at32)))
        features: Tensor = self.merge8(self.from8(at8) + enlarged(merged))
        fine = self.merge4(self.from4(at4) + enlarged(self.narrow(features)))
        return features, self.mask(fine)


class SliceNet(nn.Module):
    """Grey slices (N, 1, S, S), float in 0..1 from ``preprocess.network_inputs``; S a multiple of 32."""

    def __init__(self, architecture: str = EFFICIENTNET_LITE0) -> None:
        super().__init__()
        self.architecture = architecture
        shape = ARCHITECTURES[architecture]
        self.feature_channels, self.deepest_channels = (shape.feature_channels,), (shape.encoder_channels[3],)
        self.encoder = shape.encoder()
        self.decoder = Decoder(shape)
        self.dense = nn.Linear(shape.feature_channels, shape.dense) if shape.dense else None
        inputs = shape.dense or shape.feature_channels
        self.tumour = nn.Linear(inputs, 1)
        self.classes = nn.Linear(inputs, len(CLASSES))
        self.head = nn.Linear(inputs, 1)

    def forward(self, x: Tensor) -> SliceOutputs:
        return self.heads(*self.maps(x))

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``features``, ``mask`` and ``deepest`` of the outputs for slices (N, 1, S, S)."""
        maps = self.encoder(x)
        features, mask = self.decoder(maps)
        return features, mask, maps[3].mean((2, 3))

    def heads(self, features: Tensor, mask: Tensor, deepest: Tensor) -> SliceOutputs:
        """The outputs for N slices from their ``maps``."""
        pooled = features.mean((2, 3))
        inputs = pooled
        if self.dense is not None:
            inputs = functional.dropout(functional.relu(self.dense(pooled)), DROPOUT, self.training)
        return SliceOutputs(
            tumour=self.tumour(inputs).squeeze(1),
            classes=self.classes(inputs),
            mask=mask,
            head=self.head(inputs).squeeze(1),
            features=features,
            pooled=pooled,
            deepest=deepest,
        )

    def tumour_gradient(self, pooled: Tensor) -> Tensor:
        """(N, C) gradient of the tumour logit with respect to the averages ``pooled`` (N, C).

        The backward pass through the heads in closed form: constant for a linear head.
        """
        if self.dense is None:
            return self.tumour.weight.expand(len(pooled), -1)
        active = (self.dense(pooled) > 0).to(pooled.dtype)
        gradient: Tensor = (active * self.tumour.weight) @ self.dense.weight
        return gradient


def grad_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM of a head on averaged features: ReLU(sum over channels of gradient * feature).

    ``features`` (N, C, h, w), ``gradient`` (N, C) with respect to the averages. Returns (N, h, w), not
    scaled: Selvaraju's weights are these / (h * w), the same factor at every position.
    """
    return functional.relu(torch.einsum("nchw,nc->nhw", features, gradient))
