"""The encoders: grey slices (N, 1, S, S) in 0..1 to maps at stride 4, 8, 16 and 32.

EfficientNet-Lite0 is written out here (Tan and Le, ICML 2019, in its "Lite" form: no squeeze-and-excitation,
ReLU6 instead of swish). ResNet-50 (He et al., CVPR 2016) and MobileNetV2 (Sandler et al., CVPR 2018) have
torchvision's parameter names, so that its ImageNet weights load, but do not import it, which would take 85 MB
and seconds; the first convolution takes one grey channel.
"""

from torch import Tensor, nn

from worker.vision.network.layers import ConvNorm, Maps, standardised

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
# (expansion, channels, blocks, stride of the first block) of MobileNetV2, CVPR 2018, table 2
MOBILENET_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
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


class Bottleneck(nn.Module):
    """(N, ``inputs``, h, w) to (N, 4 * ``width``, h / ``stride``, w / ``stride``), with a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        y += x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(y)
        return result


class ResNet50(nn.Module):
    """Slices (N, 1, S, S) in 0..1 to maps of 256, 512, 1024 and 2048 channels at stride 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.bn1, self.relu, self.maxpool = nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.layer1 = _bottlenecks(64, 64, 3, 1)
        self.layer2 = _bottlenecks(256, 128, 4, 2)
        self.layer3 = _bottlenecks(512, 256, 6, 2)
        self.layer4 = _bottlenecks(1024, 512, 3, 2)
        _normal_convolutions(self)

    def forward(self, x: Tensor) -> Maps:
        x = self.maxpool(self.relu(self.bn1(self.conv1(standardised(x)))))
        at4 = self.layer1(x)
        at8 = self.layer2(at4)
        at16 = self.layer3(at8)
        return at4, at8, at16, self.layer4(at16)


def _bottlenecks(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(inputs, width, stride), *rest)


def _normal_convolutions(network: nn.Module) -> None:
    """Start as He et al., ICCV 2015: a convolution's outputs have the variance of its inputs.

    Weights without memory are left alone: torch 2.13 would import its compiler and sympy for their numbers.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")


def _relu6_layer(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class MobileResidual(nn.Module):
    """As ``InvertedResidual``, padded evenly and named as in torchvision."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = [_relu6_layer(inputs, wide)] if expansion > 1 else []
        layers.append(_relu6_layer(wide, wide, 3, stride, wide))
        self.conv = nn.Sequential(*layers, nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """Slices (N, 1, S, S) in 0..1 to maps of 24, 32, 96 and 1280 channels at stride 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_relu6_layer(1, STEM_CHANNELS, 3, 2)]
        inputs = STEM_CHANNELS
        for expansion, outputs, blocks, stride in MOBILENET_STAGES:
            for block in range(blocks):
                layers.append(MobileResidual(inputs, outputs, 1 if block else stride, expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers, _relu6_layer(inputs, TOP_CHANNELS))
        _normal_convolutions(self)

    def forward(self, x: Tensor) -> Maps:
        x = standardised(x)
        maps = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in MOBILENET_STRIDES:
                maps.append(x)
        at4, at8, at16, at32 = maps
        return at4, at8, at16, at32
