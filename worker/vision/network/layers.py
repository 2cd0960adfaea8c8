"""Layers of the encoders and the decoder."""

from torch import Tensor, nn
from torch.nn import functional

GREY_MEAN, GREY_STD = 0.449, 0.226  # ImageNet's mean and deviation, averaged over the three colours
BATCHNORM_EPS, BATCHNORM_MOMENTUM = 1e-3, 0.03  # eps as in EfficientNet's ImageNet weights

# Maps of an encoder at stride 4, 8, 16 and 32 of its input.
Maps = tuple[Tensor, Tensor, Tensor, Tensor]


def standardised(x: Tensor) -> Tensor:
    """Grey values in 0..1 standardised by ImageNet's mean and standard deviation; any shape."""
    return (x - GREY_MEAN) / GREY_STD


class ConvNorm(nn.Module):
    """Convolution, batch norm and ReLU6: (N, C, h, w) to (N, C', h / stride, w / stride).

    Padded as TensorFlow's "same", which the weights require.
    """

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


def enlarged(x: Tensor) -> Tensor:
    """(N, C, h, w) to (N, C, 2h, 2w), bilinear."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
