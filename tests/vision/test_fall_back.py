"""Where the large model fails for want of memory, the light one answers, and the result says so."""

import json
import subprocess
import sys
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save as saved_arrays
from safetensors.torch import save as saved_tensors

from neurotriage.core.settings import WorkerSettings
from tests.vision.synthetic import (
    axial_head,
    ood_limits,
    reference_features,
    rule,
    write_rules,
    write_weights,
)
from worker.vision import BadWeights, analyse_volumes, load_models, models_for, read_registry
from worker.vision.engines import TorchEngine
from worker.vision.memory import out_of_memory
from worker.vision.network import ARCHITECTURES, CLASSES, MOBILENET_V2, RESNET50, SliceNet

ROOT = Path(__file__).resolve().parents[2]


def card_and_rule(folder: Path, name: str, architecture: str) -> tuple[dict[str, object], dict[str, object]]:
    """Random weights of an architecture, with the rows that the registry and the study rule have of them."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = ARCHITECTURES[architecture]
    data = saved_tensors(SliceNet(architecture).state_dict())
    reference = saved_arrays(asdict(reference_features(shape.feature_channels + shape.encoder_channels[3])))
    (folder / f"{name}.safetensors").write_bytes(data)
    (folder / f"{name}.features.safetensors").write_bytes(reference)
    digest = sha256(data).hexdigest()
    card: dict[str, object] = {
        "name": name,
        "version": "0",
        "file": f"{name}.safetensors",
        "sha256": digest,
        "modality": "MR",
        "input_px": 64,
        "temperature": 1.0,
        "thresholds": {},
        "classes": list(CLASSES),
        "architecture": architecture,
    }
    numbers = rule(
        model=name,
        model_sha256=digest,
        features_file=f"{name}.features.safetensors",
        features_sha256=sha256(reference).hexdigest(),
        **ood_limits(1e9),
    )
    return card, asdict(numbers)


def with_light(folder: Path) -> Path:
    """A weights folder with a large model and a light one."""
    large, large_rule = card_and_rule(folder, "large", RESNET50)
    light, light_rule = card_and_rule(folder, "light", MOBILENET_V2)
    (folder / "registry.json").write_text(json.dumps({"models": [large, light]}))
    write_rules(folder, {"rules": {"MR": large_rule}, "light": {"MR": light_rule}})
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_light(tmp_path_factory.mktemp("both"))


def test_the_large_model_answers_where_it_can(both: Path) -> None:
    study, _ = analyse_volumes([axial_head(shape=(4, 40, 48))], load_models(both, threads=1))
    assert not any("light" in text for text in study.degradations)


def test_the_light_model_answers_alone_where_a_site_wishes_so(both: Path) -> None:
    models = models_for(WorkerSettings(models="light", threads=1), read_registry(both), both / "engines")
    study, _ = analyse_volumes([axial_head(shape=(4, 40, 48))], models)
    assert models.cards["MR"].name == "light"
    assert study.series[0].outcome.analysed
    assert not study.degradations


def test_the_light_model_answers_where_the_large_one_runs_out_of_memory(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TorchEngine.__call__

    def short_of_memory(self: TorchEngine, slices: torch.Tensor) -> object:
        if self.network.architecture == RESNET50:
            torch.empty(1 << 60)  # what torch says when there is too little
        return run(self, slices)

    monkeypatch.setattr(TorchEngine, "__call__", short_of_memory)
    models = load_models(both, threads=1)
    for _ in range(2):  # and again for the next study of this process
        study, _ = analyse_volumes([axial_head(shape=(4, 40, 48))], models)
        assert study.series[0].outcome.analysed
        assert any("too little memory" in text and "light 0" in text for text in study.degradations)
        assert {prediction.model for prediction in study.predictions} == {"light"}


# The limit leaves room for the light model (10 MB) and not for the large one (97 MB).
UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
import torch
from tests.vision.synthetic import axial_head
from worker.vision import analyse_volumes, load_models
from worker.vision import analyse
from worker.vision.network import ARCHITECTURES
torch.set_num_threads(1)
stack = axial_head(shape=(4, 40, 48))
load_models(Path(sys.argv[1]), threads=1, light=True).required("MR")  # what is imported on first use
models = load_models(Path(sys.argv[1]), threads=1)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 60 * 2**20,) * 2)
study, _ = analyse_volumes([stack], models)
print(study.degradations, {p.model for p in study.predictions})
"""


def test_the_light_model_answers_in_a_process_with_too_little_memory(both: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, str(both)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "too little memory" in done.stdout
    assert "{'light'}" in done.stdout


def test_the_light_model_answers_where_the_large_one_was_damaged_after_the_start(tmp_path: Path) -> None:
    models = load_models(with_light(tmp_path), threads=1)
    (tmp_path / "large.safetensors").write_bytes(b"gone")
    study, _ = analyse_volumes([axial_head(shape=(4, 40, 48))], models)
    assert any("could not be loaded" in text for text in study.degradations)


def test_without_a_light_model_the_failure_is_told_as_it_is(tmp_path: Path) -> None:
    models = load_models(write_weights(tmp_path), threads=1)
    (tmp_path / "random.safetensors").write_bytes(b"gone")
    with pytest.raises(BadWeights):
        models.of("MR")


def test_damaged_light_weights_stop_the_start(tmp_path: Path) -> None:
    folder = with_light(tmp_path)
    (folder / "light.safetensors").write_bytes(b"gone")
    with pytest.raises(BadWeights, match="light"):
        load_models(folder)


def test_only_want_of_memory_counts_as_such() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60)
    assert out_of_memory(raised.value)
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
