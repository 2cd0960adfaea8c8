"""The slice network: shapes, and Grad-CAM without a backward pass."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from worker.vision.network import (
    ARCHITECTURES,
    CLASSES,
    EFFICIENTNET_LITE0,
    MOBILENET_V2,
    Ensemble,
    Network,
    SliceNet,
    grad_cam,
    member_maps,
)


def network(seed: int = 0, architecture: str = EFFICIENTNET_LITE0) -> SliceNet:
    """Random weights; batch statistics set by one pass, so that deep activations do not vanish."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = SliceNet(architecture).train()
    with torch.no_grad():
        model(torch.rand(4, 1, 64, 64))
        model.tumour.weight.abs_()  # features are not negative, so the map is not empty
    return model.eval()


def ensemble(*, mirrored: bool = False) -> Ensemble:
    """A network whose heads are linear, and one whose heads share a dense layer."""
    return Ensemble([network(1), network(2, MOBILENET_V2)], mirrored=mirrored).eval()


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
def cam(model: Network, x: Tensor) -> Tensor:
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


def test_an_ensemble_says_the_mean_of_what_its_members_say() -> None:
    model, x = ensemble(), torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        together, apart = model(x), [member(x) for member in model.networks]
    for name in ("tumour", "classes", "mask", "head"):
        mean = torch.stack([getattr(one, name) for one in apart]).mean(0)
        torch.testing.assert_close(getattr(together, name), mean)


def test_a_mirrored_ensemble_says_of_a_head_what_it_says_of_its_mirror_image() -> None:
    model, x = ensemble(mirrored=True), torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        found, mirrored = model(x), model(x.flip(3))
    for name in ("tumour", "classes", "head", "pooled", "deepest"):
        torch.testing.assert_close(getattr(found, name), getattr(mirrored, name), rtol=1e-4, atol=1e-4)
    for name in ("features", "mask"):
        torch.testing.assert_close(
            getattr(found, name), getattr(mirrored, name).flip(3), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_grad_cam_of_an_ensemble_is_that_of_its_mean_logit(mirrored: bool) -> None:
    model, x = ensemble(mirrored=mirrored), torch.rand(3, 1, 64, 64)
    features, mask, deepest = model.maps(x)
    features = features.detach().requires_grad_()
    logit = model.heads(features, mask, deepest).tumour.sum()  # slices do not mix in evaluation mode
    (gradient,) = torch.autograd.grad(logit, features)
    theirs = functional.relu((gradient.sum((2, 3), keepdim=True) * features).sum(1)).detach()
    assert theirs.amax() > 0
    assert (cam(model, x) - theirs).abs().amax() / theirs.amax() < 1e-4


def test_what_each_member_of_an_ensemble_sees_can_be_had() -> None:
    model, x = ensemble(), torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        together = model(x)
        for place, member in enumerate(model.networks):
            alone = member(x)
            for of_ensemble, of_itself in zip(
                member_maps(model, together, place), member_maps(member, alone), strict=True
            ):
                torch.testing.assert_close(of_ensemble, of_itself)
            seen = member_maps(member, alone)
            assert all(torch.equal(getattr(seen, name), getattr(alone, name)) for name in seen._fields)


def test_torchvision_imports_beside_a_torch_without_cuda() -> None:
    from tests.torchvision_guard import torchvision

    assert callable(torchvision().models.resnet50)
