"""The speed of inference and explanation: ``python -m bench.inference [--json FILE]``.

Compares the product (batches, the best engine of this host, Grad-CAM in closed form) with the usual
implementation (one image at a time, eager single precision, hooks, a full backward pass), alternately, with
the same weights, slices and threads. Also measures the share of the processor's measured peak, the share of
the explanation, the memory of a process that has analysed slices with the light or the full set of models,
and the time from the files of a series to its decision by the light model. The engine is that chosen by
``neurotriage engines`` for these weights; else it is measured here, without int8.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurotriage.core.errors import SetupError
from neurotriage.core.settings import load_settings
from neurotriage.core.storage import Storage
from neurotriage.phantom import make_study
from worker.imaging import build_volume
from worker.vision import Registry, analyse_volumes, load_models, read_registry
from worker.vision.engines import ONNX_INT8, TORCH_BF16, Engine, open_engine, read_choice
from worker.vision.engines.eager import folded
from worker.vision.engines.measure import Trial, choose
from worker.vision.network import RESNET50, Network, SliceNet, grad_cam
from worker.vision.registry import ModelCard, StudyRule, read_cards
from worker.vision.registry.loading import load_network
from worker.vision.registry.self_check import drawn_slices

SLICES, BATCH_SLICES, ROUNDS = 64, 16, 5
SERIES_SLICES, SERIES_PX = 25, 256
INPUT_PX = 128
MATRIX = 2048  # rows and columns of the matrix product that measures the processor's peak
EVEN_ODDS = 0.5


@dataclass(frozen=True, slots=True)
class Speed:
    """The figures; ``weights`` names the model."""

    weights: str
    engine: str
    threads: int
    slices_per_s: float
    baseline_slices_per_s: float
    speedup: float
    same_class_share: float
    max_abs_dp: float
    gradcam_share: float
    share_of_peak: float
    rss_light_mb: float | None
    rss_full_mb: float | None
    light_series_s: float | None  # to decode and analyse SERIES_SLICES; None without a light model


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the figures, and write them to a JSON file with ``--json``; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.inference", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--rss", choices=("light", "full"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rss:
        print(_rss_mb(options.rss))
        return 0
    speed = measure()
    for name, value in asdict(speed).items():
        print(f"{name:>22}  {value}")
    print(f"medians of {ROUNDS} rounds, {SLICES} slices; targets: speedup >= 8, Grad-CAM <= 3 % of the pass,")
    print(f"memory <= 700 MB (light) and 1600 MB (full), a light series of {SERIES_SLICES} slices <= 1.5 s")
    if options.json:
        options.json.write_text(json.dumps(asdict(speed), indent=1) + "\n")
    return 0


def measure() -> Speed:
    """Compare the two implementations on a ResNet-50."""
    settings = load_settings()
    weights, threads = settings.worker.weights, _take_threads()
    card, usual, name = _resnet(weights)
    ours = folded(copy.deepcopy(usual))
    with tempfile.TemporaryDirectory() as empty:
        folder = Storage(settings.storage.root).engines
        choice = read_choice(folder, card.sha256, settings.worker.threads)
        if choice is None:
            folder = Path(empty)
            choice = choose(ours, card, Trial(drawn_slices(card.input_px)), folder, threads)
        engine = open_engine(choice.engine, ours, card, folder, threads)
        slices = _varied(card.input_px)
        few = slices[:BATCH_SLICES]  # the usual implementation is slow
        product_s, usual_s, forward_s, cam_s = [], [], [], []
        for _ in range(ROUNDS):
            product_s.append(_seconds(lambda: judged(engine, ours, slices)))
            usual_s.append(_seconds(lambda: judged_usually(usual, few)))
            forward, cam = _parts(engine, ours, slices)
            forward_s.append(forward)
            cam_s.append(cam)
        p = _probability(judged(engine, ours, slices)[0], card)
    reference = _probability(judged_usually(usual, slices)[0], card)
    rate, baseline = len(slices) / median(product_s), len(few) / median(usual_s)
    threshold = card.thresholds.get("tumour", EVEN_ODDS)
    return Speed(
        weights=name,
        engine=engine.name,
        threads=threads,
        slices_per_s=round(rate, 1),
        baseline_slices_per_s=round(baseline, 2),
        speedup=round(rate / baseline, 1),
        same_class_share=float(np.mean((p >= threshold) == (reference >= threshold))),
        max_abs_dp=round(float(np.abs(p - reference).max()), 5),
        gradcam_share=round(median(cam_s) / median(forward_s), 4),
        share_of_peak=round(rate * _operations(usual, slices[:1]) / _peak(engine), 3),
        rss_light_mb=_child_rss(weights, "light"),
        rss_full_mb=_child_rss(weights, "full"),
        light_series_s=_light_series_s(weights, threads),
    )


@torch.inference_mode()
def judged(engine: Engine, network: Network, slices: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Tumour logits (n,) and Grad-CAM maps (n, h, w) of slices (n, 1, S, S), by the product."""
    parts = []
    for start in range(0, len(slices), BATCH_SLICES):
        outputs = engine(torch.from_numpy(slices[start : start + BATCH_SLICES]))
        heat = grad_cam(outputs.features, network.tumour_gradient(outputs.pooled))
        parts.append((outputs.tumour, heat))
    return torch.cat([logit for logit, _ in parts]), torch.cat([heat for _, heat in parts])


def judged_usually(network: SliceNet, slices: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """The same as ``judged``, one image at a time, with hooks and a full backward pass."""
    logits, maps = [], []
    kept: dict[str, Tensor] = {}

    def forward(_module: object, _inputs: object, output: Tensor) -> None:
        kept["features"] = output

    def backward(_module: object, _inputs: object, gradients: tuple[Tensor, ...]) -> None:
        kept["gradient"] = gradients[0]

    layer = network.decoder.merge8
    hooks = [layer.register_forward_hook(forward), layer.register_full_backward_hook(backward)]
    for image in slices:
        network.zero_grad()
        logit = network(torch.from_numpy(image[None])).tumour
        logit.sum().backward()
        weights = kept["gradient"].mean((2, 3), keepdim=True)
        maps.append(torch.relu((weights * kept["features"]).sum(1)).detach())
        logits.append(logit.detach())
    for hook in hooks:
        hook.remove()
    return torch.cat(logits), torch.cat(maps)


def _resnet(weights: Path) -> tuple[ModelCard, SliceNet, str]:
    """The ResNet-50 of the registry, that for MR before another; a random one where it has none."""
    there = [card for card in read_cards(weights).cards.values() if card.architecture == RESNET50]
    for card in sorted(there, key=lambda card: card.modality != "MR"):
        return card, cast(SliceNet, load_network(card, weights)), f"{card.name} {card.version}"
    torch.manual_seed(0)
    network = SliceNet(RESNET50).train()
    with torch.no_grad():
        for _ in range(3):  # batch statistics, without which deep activations vanish
            network(torch.from_numpy(drawn_slices(INPUT_PX)))
    card = ModelCard(
        name="random",
        version="0",
        file="",
        sha256="random",
        modality="MR",
        input_px=INPUT_PX,
        temperature=1.0,
        architecture=RESNET50,
    )
    return card, network.eval(), "RANDOM ResNet-50: the registry has none, so answers mean nothing"


def _take_threads() -> int:
    threads = load_settings().worker.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    return threads


def _varied(input_px: int) -> NDArray[np.float32]:
    """(SLICES, 1, S, S): the drawn heads, rotated, and made brighter or darker."""
    random = np.random.default_rng(0)
    drawn = drawn_slices(input_px)
    variants = [
        np.rot90(drawn[number % len(drawn)], number // len(drawn), (1, 2)) ** random.uniform(0.6, 1.6)
        for number in range(SLICES)
    ]
    return np.stack(variants).astype(np.float32)


def _probability(logits: Tensor, card: ModelCard) -> NDArray[np.float64]:
    result: NDArray[np.float64] = torch.sigmoid(logits.double() / card.temperature).numpy()
    return result


def _parts(engine: Engine, network: Network, slices: NDArray[np.float32]) -> tuple[float, float]:
    """Seconds of one batch's forward pass and of its explanation."""
    batch = torch.from_numpy(slices[:BATCH_SLICES])
    begun = time.perf_counter()
    with torch.inference_mode():
        outputs = engine(batch)
        between = time.perf_counter()
        grad_cam(outputs.features, network.tumour_gradient(outputs.pooled))
    return between - begun, time.perf_counter() - between


def _operations(network: SliceNet, image: NDArray[np.float32]) -> float:
    """Floating point operations for one slice (1, 1, S, S)."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.from_numpy(image))
    return float(counter.get_total_flops())


def _peak(engine: Engine) -> float:
    """Operations per second of a large matrix product in torch, in the engine's precision."""
    kinds = {TORCH_BF16: torch.bfloat16, ONNX_INT8: torch.int8}
    a = (8 * torch.randn(MATRIX, MATRIX)).to(kinds.get(engine.name, torch.float32))
    product = torch._int_mm if a.dtype == torch.int8 else torch.mm
    seconds = [_seconds(lambda: product(a, a)) for _ in range(ROUNDS + 1)][1:]
    return 2 * MATRIX**3 / median(seconds)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _child_rss(weights: Path, which: str) -> float | None:
    """Peak resident memory in MB of a separate process; None where there are no such weights."""
    if not _rules(read_registry(weights), which):
        return None
    command = [sys.executable, "-m", "bench.inference", "--rss", which]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return float(done.stdout.split()[-1])


def _rules(registry: Registry, which: str) -> Mapping[str, StudyRule]:
    return registry.rules.light if which == "light" else registry.rules.deciding


def _light_series_s(weights: Path, threads: int) -> float | None:
    """Seconds from files on a warm disk cache to the decision, once the model is loaded."""
    registry = read_registry(weights)
    if not registry.rules.light:
        return None
    models = load_models(registry, threads=threads, light=True)
    with tempfile.TemporaryDirectory() as folder:
        made = make_study(Path(folder), slices=SERIES_SLICES, shape=(SERIES_PX, SERIES_PX))

        def judged_series() -> object:
            return analyse_volumes([build_volume(made.manifest.series[0], models.eligibility).volume], models)

        judged_series()
        return round(median(_seconds(judged_series) for _ in range(ROUNDS)), 3)


def _rss_mb(which: str) -> float:
    """The peak resident memory in MB after loading the models and analysing a series with each."""
    from worker.vision.model import network_model

    _take_threads()
    registry = read_registry(load_settings().worker.weights)
    kept = []
    for rule in _rules(registry, which).values():
        model = network_model(registry.card(rule.model), rule, registry.folder)
        slices = np.resize(drawn_slices(model.card.input_px), (SLICES, 1, *[model.card.input_px] * 2))
        judged(model.engine, model.network, slices)
        kept.append(model)
    return _peak_rss_mb()


def _peak_rss_mb() -> float:
    """Linux's VmHWM in MB: unlike ``ru_maxrss`` of getrusage it does not include the parent's memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kb = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return round(int(peak_kb) / 1024, 1)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupError as error:
        sys.exit(f"bench.inference: {error}")
