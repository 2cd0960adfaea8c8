"""The encoders: grey slices (N, 1, S, S) in 0..1 to maps at stride 4, 8, 16 and 32.

EfficientNet-Lite0 is written out here (Tan and Le, ICML 2019, in its "Lite" form: no squeeze-and-excitation,
ReLU6 instead of swish). ResNet-50 (He et al., CVPR 2016) and MobileNetV2 (Sandler et al., CVPR 2018) are
torchvision's, with its parameter names, so that its ImageNet weights load; the first convolution takes
one grey channel.
"""

from importlib import import_module

from torch import Tensor, nn

from worker.vision.network.layers import ConvNorm, Maps, standardised
from worker.vision.torchvision_guard import torchvision

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
MOBILENET_STRIDES = (3, 6, 13, 18)  # the last layer before each downsampling, and the top


class InvertedResidual(nn.Module):
    """MBConv without squeeze-and-excitation (Sandler et al., CVPR 2018): expand, depthwise, project.

    (N, ``inputs``, h, w) to (N, ``outputs``, h / ``stride``, w / ``stride``), with a shortcut if both agree.
    """

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


class EfficientNetLite0(nn.Module):
    """Slices (N, 1, S, S) in 0..1 to maps of 24, 40, 112 and 1280 channels at stride 4, 8, 16 and 32."""

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

    def forward(self, x: Tensor) -> Maps:
        x = self.stem(standardised(x))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1], maps[2], maps[4], self.top(maps[6])


class ResNet50(nn.Module):
    """Slices (N, 1, S, S) in 0..1 to maps of 256, 512, 1024 and 2048 channels at stride 4, 8, 16 and 32.

    Parameters have torchvision's names, without ``fc``.
    """

    def __init__(self) -> None:
        super().__init__()
        torchvision()
        theirs = import_module("torchvision.models").resnet50()
        self.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.bn1, self.relu, self.maxpool = theirs.bn1, theirs.relu, theirs.maxpool
        self.layer1, self.layer2 = theirs.layer1, theirs.layer2
        self.layer3, self.layer4 = theirs.layer3, theirs.layer4
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Maps:
        x = self.maxpool(self.relu(self.bn1(self.conv1(standardised(x)))))
        at4 = self.layer1(x)
        at8 = self.layer2(at4)
        at16 = self.layer3(at8)
        return at4, at8, at16, self.layer4(at16)


class MobileNetV2(nn.Module):
    """Slices (N, 1, S, S) in 0..1 to maps of 24, 32, 96 and 1280 channels at stride 4, 8, 16 and 32.

    Parameters have torchvision's names, without ``classifier``.
    """

    def __init__(self) -> None:
        super().__init__()
        torchvision()
        self.features = import_module("torchvision.models").mobilenet_v2().features
        self.features[0][0] = nn.Conv2d(1, 32, 3, 2, 1, bias=False)
        nn.init.kaiming_normal_(self.features[0][0].weight, mode="fan_out")

    def forward(self, x: Tensor) -> Maps:
        x = standardised(x)
        maps = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in MOBILENET_STRIDES:
                maps.append(x)
        at4, at8, at16, at32 = maps
        return at4, at8, at16, at32
