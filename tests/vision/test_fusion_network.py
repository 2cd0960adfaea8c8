"""The fusion network: closed-form gradients, and modalities that are not there."""

import pytest
import torch
from torch import Tensor

from worker.vision.network import CLASSES, MOBILENET_V2, RESNET50, SliceNet, grad_cam
from worker.vision.network.fusion import (
    FusionNet,
    channels_of,
    tumour_logit,
    tumour_weights,
)

pytestmark = pytest.mark.unit

ARCHITECTURES = (RESNET50, MOBILENET_V2)
BOTH, CT_ONLY, MR_ONLY = (torch.tensor([given] * 3) for given in ([True, True], [True, False], [False, True]))


def network(seed: int = 0) -> FusionNet:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return FusionNet(ARCHITECTURES).eval()


def features(seed: int = 1) -> tuple[Tensor, Tensor]:
    """Features of three slices of each modality, which may be differentiated."""
    torch.manual_seed(seed)
    ct, mr = (torch.rand(3, sum(channels_of(name)), requires_grad=True) for name in ARCHITECTURES)
    return ct, mr


@pytest.mark.parametrize("given", [BOTH, CT_ONLY, MR_ONLY], ids=["both", "CT only", "MR only"])
@pytest.mark.parametrize("score", ["tumour", *CLASSES])
def test_the_written_out_gradient_is_that_of_a_backward_pass(given: Tensor, score: str) -> None:
    net, (ct, mr) = network(), features()
    classes = net(ct, mr, given).classes
    if score == "tumour":
        weights, value = None, tumour_logit(classes)
    else:
        weights = torch.eye(3)[[CLASSES.index(score)] * 3]
        value = classes[:, CLASSES.index(score)]
    theirs = torch.autograd.grad(value.sum(), (ct, mr), allow_unused=True)
    with torch.inference_mode():
        ours = net.pooled_gradients(ct, mr, given, weights)
    for name, mine, full in zip(ARCHITECTURES, ours, theirs, strict=True):
        pooled = full[:, : channels_of(name)[0]]
        assert (mine - pooled).abs().amax() <= 1e-4 * max(float(pooled.abs().amax()), 1e-9)


def test_the_map_of_a_fused_score_is_the_grad_cam_of_hooks_and_backward() -> None:
    """With a whole encoder below: the stride-8 map feeds the fusion through its average only."""
    net = network()
    encoder = SliceNet(MOBILENET_V2).train()
    with torch.no_grad():
        encoder(torch.rand(4, 1, 64, 64))
    x, ct = torch.rand(3, 1, 64, 64), features()[0].detach()
    outputs = encoder.eval()(x)
    mr = torch.cat([outputs.features.mean((2, 3)), outputs.deepest], 1)
    (full,) = torch.autograd.grad(tumour_logit(net(ct, mr, BOTH).classes).sum(), outputs.features)
    theirs = grad_cam(outputs.features, full.sum((2, 3)))
    with torch.inference_mode():
        ours = grad_cam(outputs.features, net.pooled_gradients(ct, mr, BOTH)[1])
    assert theirs.amax() > 0
    assert (ours - theirs).abs().amax() / theirs.amax() < 1e-4


def test_what_is_not_given_says_nothing() -> None:
    net, (ct, mr) = network(), features()
    with torch.inference_mode():
        said = net(ct, mr, MR_ONLY).classes
        assert torch.equal(said, net(ct + 100, mr, MR_ONLY).classes)
        assert not torch.allclose(said, net(ct, mr + 1, MR_ONLY).classes)
        assert not torch.allclose(said, net(ct, mr, BOTH).classes)


def test_the_embedding_has_1024_numbers_and_length_1_whatever_is_given() -> None:
    net, (ct, mr) = network(), features()
    for given in (BOTH, CT_ONLY, MR_ONLY):
        embedding = net.embedding(ct, mr, given)
        assert embedding.shape == (3, 1024)
        assert torch.allclose(embedding.norm(dim=1), torch.ones(3))


def test_tumour_is_what_is_not_healthy() -> None:
    torch.manual_seed(2)
    classes = torch.randn(5, 3, requires_grad=True)
    tumour = tumour_logit(classes)
    assert torch.allclose(tumour.sigmoid(), 1 - classes.softmax(1)[:, 0])
    (gradient,) = torch.autograd.grad(tumour.sum(), classes)
    assert torch.allclose(gradient, tumour_weights(classes))
