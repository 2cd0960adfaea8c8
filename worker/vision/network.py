"""The slice network: an EfficientNet-Lite0 encoder, a top-down decoder and linear heads.

Encoder: Tan and Le, EfficientNet, ICML 2019, in its "Lite" form (no squeeze-and-excitation, ReLU6 instead
of swish). Decoder: a feature pyramid (Lin et al., CVPR 2017). The heads are linear on the global average
of the pyramid's stride-8 map, so that Grad-CAM (Selvaraju et al., ICCV 2017) needs no backward pass: the
gradient of a logit with respect to a feature is the head's weight / (h * w) at every position.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = ("healthy", "benign", "malignant")
CT_CLASSES = ("healthy", "look_alike", "tumour")  # look-alikes: bleeds, infarcts, clips
CLASSES_OF = {"MR": CLASSES, "CT": CT_CLASSES}  # by modality; as many of each, so one network serves both
FEATURE_CHANNELS = 128
MASK_CHANNELS = 48
# (expansion, channels, blocks, stride of the first block, kernel) of EfficientNet-B0, ICML 2019, table 1
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
STEM_CHANNELS, TOP_CHANNELS = 32, 1280
GREY_MEAN, GREY_STD = 0.449, 0.226  # ImageNet's mean and deviation, averaged over the three colours
BATCHNORM_EPS, BATCHNORM_MOMENTUM = 1e-3, 0.03  # eps as in the ImageNet weights


class SliceOutputs(NamedTuple):
    """What the network says of N slices; all are logits, not probabilities."""

    tumour: Tensor  # (N,) tumour on this slice
    classes: Tensor  # (N, 3) in the order of CLASSES_OF the modality
    mask: Tensor  # (N, 1, h, w) lesion, at stride 4
    head: Tensor  # (N,) this is a head slice with brain
    features: Tensor  # (N, C, fh, fw) what the heads average, at stride 8
    pooled: Tensor  # (N, C) the average


class ConvNorm(nn.Module):
    """Convolution, batch norm and ReLU6, padded as TensorFlow's "same" pads (the weights expect that)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        total = kernel - stride  # "same" padding of an input that the stride divides
        self.uneven = (total // 2, total - total // 2) * 2 if total > 0 and total % 2 else None
        padding = 0 if self.uneven else max(total, 0) // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=BATCHNORM_EPS, momentum=BATCHNORM_MOMENTUM)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        if self.uneven:
            x = functional.pad(x, self.uneven)
        x = self.norm(self.conv(x))
        return functional.relu6(x, inplace=True) if self.active else x


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; with a shortcut where the shape allows (MBConv without SE)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = ConvNorm(inputs, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide)
        self.project = ConvNorm(wide, outputs, 1, active=False)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class Encoder(nn.Module):
    """Grey slices (N, 1, S, S) in 0..1 to maps at stride 4 (24), 8 (40), 16 (112) and 32 (1280 channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(1, STEM_CHANNELS, 3, 2)
        stages, inputs = [], STEM_CHANNELS
        for expansion, outputs, blocks, stride, kernel in STAGES:
            rows = [InvertedResidual(inputs, outputs, kernel, stride, expansion)]
            rows += [InvertedResidual(outputs, outputs, kernel, 1, expansion) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(*rows))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.top = ConvNorm(inputs, TOP_CHANNELS, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = self.stem((x - GREY_MEAN) / GREY_STD)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1], maps[2], maps[4], self.top(maps[6])


class Decoder(nn.Module):
    """Top-down pyramid: the stride-8 map that the heads average, and the lesion's logits at stride 4."""

    def __init__(self) -> None:
        super().__init__()
        wide, slim = FEATURE_CHANNELS, MASK_CHANNELS
        self.from32 = ConvNorm(TOP_CHANNELS, wide, 1)
        self.from16 = ConvNorm(112, wide, 1)
        self.from8 = ConvNorm(40, wide, 1)
        self.from4 = ConvNorm(24, slim, 1)
        self.merge16 = ConvNorm(wide, wide, 3)
        self.merge8 = ConvNorm(wide, wide, 3)
        self.narrow = ConvNorm(wide, slim, 1)
        self.merge4 = ConvNorm(slim, slim, 3)
        self.mask = nn.Conv2d(slim, 1, 1)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        at4, at8, at16, at32 = maps
        merged = self.merge16(self.from16(at16) + enlarged(self.from32(at32)))
        features: Tensor = self.merge8(self.from8(at8) + enlarged(merged))
        fine = self.merge4(self.from4(at4) + enlarged(self.narrow(features)))
        return features, self.mask(fine)


def enlarged(x: Tensor) -> Tensor:
    """Twice the rows and columns, bilinear."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class SliceNet(nn.Module):
    """Grey slices (N, 1, S, S), float in 0..1 from ``preprocess.network_inputs``; S a multiple of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.tumour = nn.Linear(FEATURE_CHANNELS, 1)
        self.classes = nn.Linear(FEATURE_CHANNELS, len(CLASSES))
        self.head = nn.Linear(FEATURE_CHANNELS, 1)

    def forward(self, x: Tensor) -> SliceOutputs:
        features, mask = self.decoder(self.encoder(x))
        pooled = features.mean((2, 3))
        return SliceOutputs(
            tumour=self.tumour(pooled).squeeze(1),
            classes=self.classes(pooled),
            mask=mask,
            head=self.head(pooled).squeeze(1),
            features=features,
            pooled=pooled,
        )

    def tumour_weights(self) -> Tensor:
        """(C,) gradient of the tumour logit with respect to the pooled features."""
        return self.tumour.weight[0]


def grad_cam(features: Tensor, weights: Tensor) -> Tensor:
    """Grad-CAM of a linear head on averaged features: ReLU(sum over channels of weight * feature).

    ``features`` (N, C, h, w), ``weights`` (C,) or (N, C). Returns (N, h, w), not scaled: Selvaraju's
    weights are these / (h * w), the same factor at every position.
    """
    rows = weights.expand(features.shape[0], -1)
    return functional.relu(torch.einsum("nchw,nc->nhw", features, rows))
