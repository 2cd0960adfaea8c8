"""A run: its settings, its checkpoint, its rates, the threads that it takes."""

import json
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from training.fit import settings as run_settings
from training.fit import thread_tuning
from training.fit.checkpoint import MOMENTS, AnotherRun, Progress, check_same, resume, save
from training.fit.initial_weights import IMAGENET, RANDOM, usual_start
from training.fit.models import MODELS
from training.fit.settings import TrainingSettings, settings_from
from training.fit.thread_tuning import PROBE_LENGTH, PROBE_STEPS, ThreadTuning
from training.fit.train import LAST_RATE_SHARE, WARM_UP_STEPS, Run
from worker.vision.network import EFFICIENTNET_LITE0, MOBILENET_V2, RESNET50, SliceNet


def asked(*options: str) -> TrainingSettings:
    return settings_from(["--manifest", "m.csv", *options])


def test_a_run_is_described_by_its_options() -> None:
    settings = asked("--model", "light", "--minutes", "3", "--teachers", "mr", "mr-teacher", "--no-bf16")
    assert (settings.model, settings.minutes, settings.manifest) == ("light", 3.0, Path("m.csv"))
    assert settings.teachers == ("mr", "mr-teacher")
    assert settings.bf16 is False


@pytest.mark.parametrize("model", MODELS)
def test_each_model_starts_from_the_weights_that_a_package_brings(model: str) -> None:
    lite = MODELS[model].architecture == EFFICIENTNET_LITE0
    assert asked("--model", model).init == (IMAGENET if lite else RANDOM)
    assert asked("--model", model, "--init", "a.pth").init == "a.pth"


@pytest.mark.parametrize("architecture", [RESNET50, MOBILENET_V2])
def test_no_package_brings_other_architectures(architecture: str) -> None:
    assert usual_start(architecture) == RANDOM


def test_by_default_a_run_lies_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert asked("--model", "light").folder == Path("/somewhere/neurotriage/training/light")
    assert asked("--folder", "here").folder == Path("here")


def test_an_unknown_model_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        asked("--model", "mr")
    assert ended.value.code == 2
    assert "mr-teacher" in capsys.readouterr().err, "the choices are listed"


def test_a_resumed_run_may_change_its_length_but_not_its_subject() -> None:
    begun = asked("--model", "light")
    longer = replace(begun, minutes=500.0, threads=8, check_minutes=1.0, manifest=Path("elsewhere.csv"))
    assert longer.fixed == begun.fixed
    changed = {
        "model": "ct-light",
        "init": IMAGENET,
        "teachers": ("mr",),
        "rate": 1e-5,
        "input_px": 160,
        "small_share": 0.9,
    }
    assert set(changed) == set(begun.fixed)
    for name, value in changed.items():
        assert replace(begun, **{name: value}).fixed != begun.fixed, name
    assert set(changed) < {field.name for field in fields(TrainingSettings)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SliceNet, torch.optim.Optimizer]:
    """A checkpoint after one step, with the network and the optimiser that it is of; to be copied."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    network = SliceNet(MOBILENET_V2)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    network(torch.rand(2, 1, 32, 32)).tumour.sum().backward()
    optimiser.step()
    path = tmp_path_factory.mktemp("run") / "deeper" / "checkpoint.safetensors"
    average, fixed = SliceNet(MOBILENET_V2), asked("--model", "light").fixed
    save(path, network, average, optimiser, Progress(3, 4.5, 0.75), fixed)
    return path, network, optimiser


Trained = tuple[Path, SliceNet, torch.optim.Optimizer]


def test_the_next_step_after_a_checkpoint_is_the_one_that_would_have_come(trained: Trained) -> None:
    path, network = trained[0], deepcopy(trained[1])
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    optimiser.load_state_dict(trained[2].state_dict())
    again, average = SliceNet(MOBILENET_V2), SliceNet(MOBILENET_V2)
    other = torch.optim.AdamW(again.parameters(), 1e-3)
    assert resume(path, again, average, other) == Progress(3, 4.5, 0.75)
    for state in optimiser.state.values():
        state["step"] = torch.tensor(3.0)  # as the progress says
    pictures = torch.rand(2, 1, 32, 32)
    for model, steps in ((network, optimiser), (again, other)):
        torch.manual_seed(2)  # of dropout
        steps.zero_grad()
        model(pictures).tumour.sum().backward()
        steps.step()
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_checkpoint_says_what_it_was_started_with(trained: Trained) -> None:
    with safe_open(trained[0], "pt") as file:
        metadata, names = file.metadata(), set(file.keys())
    assert json.loads(metadata["run"])["model"] == "light"
    for prefix in ("network", "average", *MOMENTS):
        assert f"{prefix}.tumour.weight" in names
    assert not trained[0].with_suffix(".tmp").exists()


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(trained: Trained) -> None:
    check_same(trained[0], asked("--model", "light").fixed)
    with pytest.raises(AnotherRun, match=r"model: light there, ct-light here.*--folder") as refused:
        check_same(trained[0], asked("--model", "ct-light").fixed)
    assert "rate" not in str(refused.value), "what is the same is not named"


def test_a_checkpoint_of_another_architecture_is_refused(trained: Trained) -> None:
    other = SliceNet(EFFICIENTNET_LITE0)
    with pytest.raises(RuntimeError, match=r"size mismatch|Missing key"):
        resume(trained[0], other, other, torch.optim.AdamW(other.parameters()))


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, network, optimiser = trained
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("training.fit.checkpoint.save_file", full)
    with pytest.raises(OSError, match="no space"):
        save(path, network, network, optimiser, Progress(), {})
    assert path.read_bytes() == before


def rate_share(step: int, seconds: float) -> float:
    """The share of the largest rate at a step and a time of a run of one minute."""
    run = object.__new__(Run)
    run.settings, run.progress = replace(asked(), minutes=1.0), Progress(step, seconds)
    return run._rate_share()


def test_the_rate_warms_up_by_steps_and_falls_over_the_time() -> None:
    assert rate_share(0, 0.0) == pytest.approx(1 / WARM_UP_STEPS)
    assert rate_share(WARM_UP_STEPS - 1, 0.0) == pytest.approx(1.0)
    assert rate_share(9999, 30.0) == pytest.approx((1 + LAST_RATE_SHARE) / 2)
    assert rate_share(9999, 60.0) == pytest.approx(LAST_RATE_SHARE)
    assert rate_share(9999, 600.0) == pytest.approx(LAST_RATE_SHARE), "not below it, however late"


class Clock:
    """Time that passes by the number of threads: ``seconds[threads]`` a step."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.now, self.threads, self.asked = seconds, 0.0, 1, 0

    def monotonic(self) -> float:
        self.asked += 1
        if self.asked % 2 == 0:  # the end of a step
            self.now += self.seconds[self.threads]
        return self.now

    def set_num_threads(self, threads: int) -> None:
        self.threads = threads


@pytest.mark.parametrize(("seconds", "faster"), [({1: 1.0, 4: 0.3}, 4), ({1: 0.3, 4: 1.0}, 1)])
def test_the_faster_number_of_threads_is_taken(
    seconds: dict[int, float], faster: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(seconds)
    monkeypatch.setattr(thread_tuning.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(torch, "set_num_threads", clock.set_num_threads)
    tuning, taken = ThreadTuning(4), []
    for _ in range(2 * PROBE_STEPS):
        with tuning:
            taken.append(clock.threads)
    probes = 2 * PROBE_LENGTH
    assert set(taken[:probes]) == {1, 4}, "both are tried"
    assert set(taken[probes:PROBE_STEPS]) == {faster}
    assert set(taken[PROBE_STEPS : PROBE_STEPS + probes]) == {1, 4}, "and tried again"


def test_one_thread_is_the_only_choice_where_no_more_are_allowed() -> None:
    assert ThreadTuning(1).choices == [1]


def test_what_the_processor_computes_faster_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for faster in (True, False):
        monkeypatch.setattr(run_settings, "faster_in_bf16", lambda _, faster=faster: faster)
        assert asked().bf16 is faster
        assert asked("--bf16").bf16 is True
