"""Every model can be trained: from ImageNet's weights, from earlier ones, beside teachers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.torchvision_guard import torchvision
from tests.training.conftest import write_manifest
from training.fit import train
from training.fit.checkpoint import AnotherRun
from training.fit.initial_weights import begin, teachers
from training.fit.losses import soft_loss
from training.fit.models import MODELS
from training.fit.settings import SMALL_PX, TrainingSettings
from training.fit.train import Run
from training.release.export import enter, trained_px, written
from worker.vision.network import MOBILENET_V2, RESNET50, Network, SliceNet, SliceOutputs

OF_MR = [name for name, subject in MODELS.items() if subject.modality == "MR"]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with a teacher of each kind: one network of MR and one of CT, and another of MR."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    for name in ("mr-teacher", "ct-teacher", "light"):
        save_file(SliceNet(MODELS[name].architecture).state_dict(), folder / "best.safetensors")
        enter(written(name, "0", 64, folder / "best.safetensors", folder), folder)
    return folder


@pytest.fixture
def settings(tmp_path: Path, toy: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> TrainingSettings:
    """A run of two steps at 64 px on twelve drawn slices."""
    monkeypatch.setattr(train, "JUNK_PICTURES", 11)
    monkeypatch.setattr(train, "BATCH", 8)
    splits = {row["group"]: ("train", "val")[number % 4 > 1] for number, row in enumerate(toy)}
    for row in toy:
        row["split"] = splits[row["group"]]
    manifest = write_manifest(tmp_path, toy)
    folder = tmp_path / "run"
    folder.mkdir()
    return TrainingSettings(
        "light", manifest, 0.001, folder, "random", (), tmp_path, False, 1e-3, 64, 0.0, 60.0, 1, 1
    )


@pytest.mark.parametrize("model", OF_MR)
@pytest.mark.parametrize("bf16", [False, True])
def test_a_model_learns_beside_its_teachers(
    model: str, bf16: bool, settings: TrainingSettings, registered: Path
) -> None:
    names = ("mr-teacher", "light")
    run = Run(replace(settings, model=model, teachers=names, weights=registered, bf16=bf16))
    assert len(run.teachers) == 2
    taught = [{name: t.clone() for name, t in teacher.state_dict().items()} for teacher in run.teachers]
    before = run.network.tumour.weight.detach().clone()
    indices = torch.arange(5)
    values = [run._step(indices) for _ in range(2)]
    assert all(torch.isfinite(torch.tensor(values)))
    assert not torch.equal(before, run.network.tumour.weight)
    for teacher, was in zip(run.teachers, taught, strict=True):
        for name, tensor in teacher.state_dict().items():
            assert torch.equal(tensor, was[name])


def test_a_run_with_other_settings_does_not_go_on_from_a_checkpoint(settings: TrainingSettings) -> None:
    Run(settings).train()
    assert Run(replace(settings, minutes=1.0)).progress.step > 0
    with pytest.raises(AnotherRun, match=r"rate: 0.001 there, 0.0005 here.*--folder"):
        Run(replace(settings, rate=5e-4))


def test_weights_of_a_run_say_with_which_input_size_they_were_trained(settings: TrainingSettings) -> None:
    Run(settings).train()
    assert trained_px(settings.folder / "best.safetensors") == 64


@pytest.mark.parametrize(("small_share", "seen_px"), [(0.0, {128}), (0.5, {SMALL_PX, 128})])
def test_a_run_may_begin_with_smaller_pictures(
    small_share: float, seen_px: set[int], settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(replace(settings, input_px=128, small_share=small_share))
    seen: list[int] = []
    outputs = run._outputs

    def noted(network: Network, images: torch.Tensor) -> SliceOutputs:
        seen.append(images.shape[-1])
        return outputs(network, images)

    monkeypatch.setattr(run, "_outputs", noted)
    for done in (0.0, 0.9):
        run.progress.seconds = done * settings.minutes * 60
        run._step(torch.arange(5))
    assert set(seen) == seen_px


def test_what_each_of_two_teachers_says_counts_half(
    settings: TrainingSettings, registered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(replace(settings, teachers=("mr-teacher", "light"), weights=registered))
    worth = iter((2.0, 6.0))
    monkeypatch.setattr(train, "loss", lambda *_: 10.0 * run.network.tumour.bias.sum() ** 0)
    monkeypatch.setattr(train, "soft_loss", lambda *_: torch.tensor(next(worth)))
    assert run._step(torch.arange(5)) == pytest.approx(0.5 * 10.0 + 4.0)


def test_a_teacher_of_another_modality_is_refused(registered: Path) -> None:
    with pytest.raises(ValueError, match="ct-teacher knows CT"):
        teachers(("mr-teacher", "ct-teacher"), registered, "MR")


def test_a_run_leaves_weights_that_the_next_one_starts_from(settings: TrainingSettings) -> None:
    Run(settings).train()
    best = settings.folder / "best.safetensors"
    network = SliceNet(MODELS["light"].architecture)
    begin(network, str(best))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, load_file(best)[name])


def test_a_student_that_says_what_its_teacher_says_is_nearest_to_it() -> None:
    torch.manual_seed(0)
    network, x = SliceNet().eval(), torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        taught = network(x)
        same = soft_loss(taught, taught)
        for name in ("tumour", "classes", "mask", "head", "features"):
            other = taught._replace(**{name: torch.randn_like(getattr(taught, name)) * 3})
            assert soft_loss(other, taught) > same


@pytest.mark.parametrize(("architecture", "name"), [(RESNET50, "resnet50"), (MOBILENET_V2, "mobilenet_v2")])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_imagenet_weights_of_torchvision_give_the_features_of_the_original(
    architecture: str, name: str, suffix: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    torchvision()
    from torchvision import models

    original = getattr(models, name)().eval()
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(original.state_dict(), path)
    network = SliceNet(architecture).eval()
    begin(network, str(path))
    x = torch.rand(1, 1, 64, 64)
    seen = ((x - 0.449) / 0.226).repeat(1, 3, 1, 1)
    with torch.inference_mode():
        if architecture == MOBILENET_V2:
            wanted = original.features(seen)
        else:
            early = original.maxpool(original.relu(original.bn1(original.conv1(seen))))
            wanted = original.layer4(original.layer3(original.layer2(original.layer1(early))))
        ours = network.encoder(x)[3]
    torch.testing.assert_close(ours, wanted, atol=1e-3, rtol=1e-3)


def test_weights_of_another_architecture_are_refused_by_name(registered: Path) -> None:
    with pytest.raises(ValueError, match="resnet50"):
        begin(SliceNet(RESNET50), str(registered / "mr-teacher.safetensors"))
    with pytest.raises(ValueError, match="--init"):
        begin(SliceNet(RESNET50), "imagenet")
