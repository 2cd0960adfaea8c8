"""Every model can be trained: from ImageNet's weights, from earlier ones, beside a teacher."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.conftest import write_manifest
from training import train
from training.initial import begin
from training.losses import soft_loss
from training.models import MODELS, TEACHER_ARCHITECTURE
from training.train import Run, Settings
from worker.vision.network import MOBILENET_V2, RESNET50, SliceNet
from worker.vision.torchvision_guard import torchvision

pytestmark = pytest.mark.unit

OF_MR = [name for name, subject in MODELS.items() if subject.modality == "MR"]


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file({k: t.half() if t.is_floating_point() else t for k, t in SliceNet().state_dict().items()}, path)
    return path


@pytest.fixture
def settings(tmp_path: Path, toy: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A run of two steps at 64 px on twelve drawn slices."""
    monkeypatch.setattr(train, "JUNK_PICTURES", 11)
    monkeypatch.setattr(train, "BATCH", 8)
    splits = {row["group"]: ("train", "val")[number % 4 > 1] for number, row in enumerate(toy)}
    for row in toy:
        row["split"] = splits[row["group"]]
    manifest = write_manifest(tmp_path, toy)
    folder = tmp_path / "run"
    folder.mkdir()
    return Settings("light", manifest, 0.001, folder, "random", None, False, 64, 60.0, 1, 1)


@pytest.mark.parametrize("model", OF_MR)
@pytest.mark.parametrize("bf16", [False, True])
def test_a_model_learns_beside_a_teacher(
    model: str, bf16: bool, settings: Settings, teacher_file: Path
) -> None:
    run = Run(replace(settings, model=model, teacher=teacher_file, bf16=bf16))
    assert run.teacher is not None
    taught = {name: t.clone() for name, t in run.teacher.state_dict().items()}
    before = run.network.tumour.weight.detach().clone()
    indices = torch.arange(5)
    values = [run._step(indices) for _ in range(2)]
    assert all(torch.isfinite(torch.tensor(values)))
    assert not torch.equal(before, run.network.tumour.weight)
    for name, tensor in run.teacher.state_dict().items():
        assert torch.equal(tensor, taught[name])


def test_a_run_leaves_weights_that_the_next_one_starts_from(settings: Settings) -> None:
    Run(settings).train()
    best = settings.folder / "best.safetensors"
    network = SliceNet(MODELS["light"].architecture)
    begin(network, str(best))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, load_file(best)[name])


def test_a_student_that_says_what_its_teacher_says_is_nearest_to_it() -> None:
    torch.manual_seed(0)
    network, x = SliceNet(TEACHER_ARCHITECTURE).eval(), torch.rand(2, 1, 64, 64)
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


def test_weights_of_another_architecture_are_refused_by_name(teacher_file: Path) -> None:
    with pytest.raises(ValueError, match="resnet50"):
        begin(SliceNet(RESNET50), str(teacher_file))
    with pytest.raises(ValueError, match="--init"):
        begin(SliceNet(RESNET50), "imagenet")
