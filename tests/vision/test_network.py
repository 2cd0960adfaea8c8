"""The slice network: shapes, and Grad-CAM without a backward pass."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from worker.vision.network import ARCHITECTURES, CLASSES, EFFICIENTNET_LITE0, SliceNet, grad_cam

pytestmark = pytest.mark.unit


def network(seed: int = 0, architecture: str = EFFICIENTNET_LITE0) -> SliceNet:
    """Random weights; batch statistics set by one pass, so that deep activations do not vanish."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = SliceNet(architecture).train()
    with torch.no_grad():
        model(torch.rand(4, 1, 64, 64))
        model.tumour.weight.abs_()  # features are not negative, so the map is not empty
    return model.eval()


def by_hooks(model: SliceNet, x: Tensor) -> Tensor:
    """Grad-CAM the usual way: hooks, and a backward pass from each slice's tumour logit."""
    kept: dict[str, Tensor] = {}

    def keep(_module: object, _inputs: object, output: tuple[Tensor, Tensor]) -> None:
        kept["features"] = output[0]
        output[0].register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: kept.update(gradient=gradient)
        )

    handle = model.decoder.register_forward_hook(keep)
    model(x).tumour.sum().backward()  # slices do not mix in evaluation mode
    handle.remove()
    weights = kept["gradient"].sum((2, 3), keepdim=True)
    return functional.relu((weights * kept["features"]).sum(1)).detach()


@torch.inference_mode()
def cam(model: SliceNet, x: Tensor) -> Tensor:
    """Grad-CAM in closed form."""
    outputs = model(x)
    return grad_cam(outputs.features, model.tumour_gradient(outputs.pooled))


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_outputs_have_the_shapes_that_are_promised(architecture: str, size: int) -> None:
    with torch.inference_mode():
        outputs = network(0, architecture)(torch.rand(3, 1, size, size))
    shape = ARCHITECTURES[architecture]
    assert outputs.tumour.shape == outputs.head.shape == (3,)
    assert outputs.classes.shape == (3, len(CLASSES))
    assert outputs.mask.shape == (3, 1, size // 4, size // 4)
    assert outputs.features.shape == (3, shape.feature_channels, size // 8, size // 8)
    assert outputs.pooled.shape == (3, shape.feature_channels)
    assert outputs.deepest.shape == (3, shape.encoder_channels[3])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_closed_form_is_the_grad_cam_of_hooks_and_backward(architecture: str) -> None:
    model, x = network(0, architecture), torch.rand(3, 1, 64, 64)
    ours = cam(model, x)
    theirs = by_hooks(model, x)
    assert theirs.amax() > 0
    assert (ours - theirs).abs().amax() / theirs.amax() < 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_random_weights_give_another_map(architecture: str) -> None:
    torch.manual_seed(5)
    x = torch.rand(1, 1, 64, 64)
    maps = [cam(network(seed, architecture), x).flatten() for seed in (1, 2)]
    assert torch.corrcoef(torch.stack(maps))[0, 1].abs() < 0.9


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_slices_do_not_influence_each_other(architecture: str) -> None:
    model, x = network(0, architecture), torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        together, alone = model(x).tumour[1:2], model(x[1:2]).tumour
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_torchvision_imports_beside_a_torch_without_cuda() -> None:
    from worker.vision.torchvision_guard import torchvision

    assert callable(torchvision().models.resnet50)
