"""``python -m training train``: trains a slice model for a given time and stops by itself."""

import argparse
import copy
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress as Bar
from safetensors.torch import save_file
from torch import Tensor

from training.data.manifest import Row, read
from training.data.non_heads import junk
from training.data.samples import CELL_SHARES, STORED_PX, UNLABELLED, Draw, Stock, stock, stored_px
from training.evaluation.metrics import auc_roc, dice, standing_out
from training.evaluation.predict import decoded, lesion, predictions
from training.evaluation.synthetic_masses import ct_val_scores, held_apart, scores
from training.fit.augment import Slices, augmented
from training.fit.augment_ct import ct_augmented
from training.fit.checkpoint import AnotherRun, Progress, check_same, resume, save
from training.fit.initial_weights import RANDOM, begin, teachers, usual_start
from training.fit.losses import loss, soft_loss
from training.fit.models import INPUT_PX_KEY, MODELS
from training.fit.thread_tuning import Pace
from training.options import step_parser
from training.synthetic_ct.lesions import lesions_of
from training.synthetic_ct.samples import cell_shares, ct_stock
from worker.vision.network import RESNET50, Network, SliceNet, SliceOutputs
from worker.vision.slices.preprocess import INPUT_PX

BATCH, JUNK_PER_BATCH, JUNK_PICTURES = 32, 3, 2200
LEARNING_RATE, ENCODER_RATE_SHARE, WEIGHT_DECAY = 1e-3, 0.5, 0.02
WARM_UP_STEPS, LARGEST_GRADIENT = 150, 5.0
AVERAGE_DECAY = 0.998
LAST_RATE_SHARE = 0.01
LOG_STEPS = 50
SMALL_PX, SMALL_SHARE = 96, 0.4  # the first part of a run sees smaller pictures: more of them
HARD_SHARE = 0.5  # of the loss on labels, beside teachers
MASK_SHARE = 0.45  # of a map's maximum, where the lesion begins while val is looked at
PATIENT_SOURCES = ("lgg", "btp")  # with tumour-free slices of the same patients

log = logging.getLogger("training")


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """One training run."""

    model: str
    manifest: Path
    minutes: float
    folder: Path
    init: str
    teachers: tuple[str, ...]
    weights: Path
    bf16: bool
    rate: float
    input_px: int
    small_share: float
    check_minutes: float
    threads: int
    seed: int

    @property
    def to_go_on(self) -> dict[str, object]:
        """What a run that goes on must have in common with the one that began."""
        return {
            "model": self.model,
            "init": self.init,
            "teachers": list(self.teachers),
            "rate": self.rate,
            "input_px": self.input_px,
            "small_share": self.small_share,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = _settings(arguments)
    settings.folder.mkdir(parents=True, exist_ok=True)
    lines: list[logging.Handler] = [
        logging.StreamHandler(sys.stdout),
        logging.FileHandler(settings.folder / "training.log"),
    ]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=lines)
    torch.manual_seed(settings.seed)
    try:
        run = Run(settings)
    except AnotherRun as error:
        raise SystemExit(str(error)) from None
    run.train()


def _settings(arguments: Sequence[str] | None) -> TrainingSettings:
    parser = step_parser("train", __doc__, "--manifest", "--weights")
    parser.add_argument("--model", choices=sorted(MODELS), default="mr-teacher")
    parser.add_argument("--minutes", type=float, default=75.0, help="wall time, after which training ends")
    parser.add_argument(
        "--folder", type=Path, help="log, best weights and checkpoint (a run there goes on); default: a cache"
    )
    parser.add_argument(
        "--init",
        help="imagenet, random, weights of ours or torchvision's ImageNet weights; "
        "default: imagenet for efficientnet-lite0, else random",
    )
    parser.add_argument(
        "--teachers", nargs="+", default=(), metavar="NAME", help="models of this modality to learn from too"
    )
    parser.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        help="compute in bfloat16; default: where the processor is faster that way",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=LEARNING_RATE,
        help="largest learning rate; a smaller one goes on from weights of an earlier run",
    )
    parser.add_argument("--input-px", type=int, default=INPUT_PX)
    parser.add_argument(
        "--small-share",
        type=float,
        default=SMALL_SHARE,
        help=f"first part of the run, which sees pictures of {SMALL_PX} px",
    )
    parser.add_argument("--check-minutes", type=float, default=10.0, help="time between looks at val")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    options.folder = options.folder or _cache() / options.model
    options.teachers = tuple(options.teachers)
    architecture = MODELS[options.model].architecture
    options.init = options.init or usual_start(architecture)
    if options.bf16 is None:
        options.bf16 = faster_in_bf16(architecture)
    return TrainingSettings(**vars(options))


def faster_in_bf16(architecture: str) -> bool:
    """Whether this processor trains a network faster in bfloat16.

    With AMX any; with AVX512-BF16 alone only dense convolutions gain (ResNet-50
    1.8 times), depthwise ones lose.
    """
    dense = architecture == RESNET50 and torch.cpu._is_avx512_bf16_supported()
    return torch.cpu._is_amx_tile_supported() or dense


def _cache() -> Path:
    """Where runs lie by default: outside the repository."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "neurotriage" / "training"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What differs between modalities: the stored slices, how they are drawn, varied and judged."""

    stock: Callable[[Sequence[Row]], Stock]
    cell_shares: Mapping[tuple[str, str], float]
    augmented: Callable[[Slices, Tensor, int], Slices]
    val_scores: Callable[[SliceNet, Sequence[Row], int], dict[str, float]]


def mr_recipe(settings: TrainingSettings) -> Recipe:
    """Manifest rows as they are."""
    side_px = stored_px(settings.input_px)
    return Recipe(lambda rows: stock(rows, side_px), CELL_SHARES, augmented, val_scores)


def ct_recipe(settings: TrainingSettings) -> Recipe:
    """Manifest rows and template volumes, each slice with and without a synthetic mass."""
    folder = settings.manifest.parent
    if stored_px(settings.input_px) > STORED_PX:
        log.warning("CT slices are stored for inputs of %d px: a larger input shows no more detail", INPUT_PX)
    lesions = lesions_of(read(settings.manifest, "MR").of_split("train"))
    judged = held_apart(settings.manifest, "val")
    return Recipe(
        stock=lambda rows: ct_stock(rows, folder, settings.seed, lesions),
        cell_shares=cell_shares(),
        augmented=ct_augmented,
        val_scores=lambda network, _, px: ct_val_scores(scores(network, judged, px)),
    )


RECIPES = {"MR": mr_recipe, "CT": ct_recipe}


class Run:
    """A training run: the data in memory, the network, its average, the optimiser, the progress."""

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        if self.checkpoint.is_file():
            check_same(self.checkpoint, settings.to_go_on)
        subject = MODELS[settings.model]
        manifest = read(settings.manifest, subject.modality)
        self.val = manifest.of_split("val")
        self.recipe = RECIPES[subject.modality](settings)
        self.stock = self.recipe.stock(manifest.of_split("train"))
        heads, depths = self.stock.images.numpy(), self.stock.depths.numpy()
        self.junk = torch.from_numpy(junk(heads, depths, JUNK_PICTURES, settings.seed))
        self.network = SliceNet(subject.architecture)
        begin(self.network, settings.init)
        self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teachers = teachers(settings.teachers, settings.weights, subject.modality)
        self.average = copy.deepcopy(self.network).eval()
        encoder = {id(p) for p in self.network.encoder.parameters()}
        others = [p for p in self.network.parameters() if id(p) not in encoder]
        encoder_share = 1.0 if settings.init == RANDOM else ENCODER_RATE_SHARE
        self.optimiser = torch.optim.AdamW(
            [
                {"params": list(self.network.encoder.parameters()), "share": encoder_share},
                {"params": others, "share": 1.0},
            ],
            lr=settings.rate,
            weight_decay=WEIGHT_DECAY,
        )
        self.progress = Progress()
        self.pace = Pace(settings.threads)
        if self.checkpoint.is_file():
            self.progress = resume(self.checkpoint, self.network, self.average, self.optimiser)
            log.info("resumed at step %d", self.progress.step)
        log.info("%d slices for training, %d rows for val", len(self.stock.images), len(self.val))

    @property
    def checkpoint(self) -> Path:
        return self.settings.folder / "checkpoint.safetensors"

    def train(self) -> None:
        """Train until the time is used; look at val now and then and keep the best averaged weights."""
        seconds = self.settings.minutes * 60
        started = time.monotonic() - self.progress.seconds
        next_check = self.progress.seconds + self.settings.check_minutes * 60
        losses: list[float] = []
        draw = Draw(self.stock, self.settings.seed + self.progress.step, self.recipe.cell_shares)
        with Bar(disable=not sys.stdout.isatty()) as bar:
            task = bar.add_task(self.settings.model, total=seconds)
            while self.progress.seconds < seconds:
                with self.pace:
                    losses.append(self._step(draw.batch(BATCH - JUNK_PER_BATCH)))
                self.progress.seconds = time.monotonic() - started
                bar.update(task, completed=self.progress.seconds)
                step = self.progress.step
                if step % LOG_STEPS == 0:
                    rate = step * BATCH / self.progress.seconds
                    log.info(
                        "step %d loss %.4f %.1f slices/s %d threads",
                        step,
                        np.mean(losses),
                        rate,
                        self.pace.threads,
                    )
                    losses = []
                if self.progress.seconds >= next_check:
                    self._check()
                    next_check = time.monotonic() - started + self.settings.check_minutes * 60
        self._check()

    def _step(self, indices: Tensor) -> float:
        rate = self.settings.rate * self._rate_share()
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        small = self._done() < self.settings.small_share
        input_px = min(SMALL_PX, self.settings.input_px) if small else self.settings.input_px
        truth, is_head = batch(self.stock, self.junk, indices, input_px, self.recipe.augmented)
        self.network.train()
        images = truth.images.contiguous(memory_format=torch.channels_last)
        outputs = self._outputs(self.network, images)
        value = loss(outputs, truth, is_head, self.network.tumour_gradient(outputs.pooled))
        if self.teachers:
            with torch.no_grad():
                taught = [self._outputs(teacher, images) for teacher in self.teachers]
            apart = torch.stack([soft_loss(outputs, one) for one in taught]).mean()
            value = HARD_SHARE * value + apart
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        self.progress.step += 1
        self._follow()
        return float(value.detach())

    def _outputs(self, network: Network, images: Tensor) -> SliceOutputs:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.bf16):
            maps = network.maps(images)
        return network.heads(*(tensor.float() for tensor in maps))

    def _done(self) -> float:
        """The share of the run's time that is used."""
        return min(1.0, self.progress.seconds / (self.settings.minutes * 60))

    def _rate_share(self) -> float:
        """Warm-up by steps, then a cosine over the time of the run."""
        cosine = LAST_RATE_SHARE + (1 - LAST_RATE_SHARE) * (1 + math.cos(math.pi * self._done())) / 2
        return cosine * min(1.0, (self.progress.step + 1) / WARM_UP_STEPS)

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the averaged weights towards the network's."""
        step = self.progress.step
        decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
        ours = self.network.state_dict()
        for name, mean in self.average.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(ours[name], 1 - decay)
            else:
                mean.copy_(ours[name])

    def _check(self) -> None:
        scores = self.recipe.val_scores(self.average, self.val, self.settings.input_px)
        score = sum(scores.values()) / len(scores)
        text = " ".join(f"{name} {value:.4f}" for name, value in scores.items())
        log.info("val at %.1f min: %s mean %.4f", self.progress.seconds / 60, text, score)
        if score > self.progress.best_score:
            self.progress.best_score = score
            tensors = {name: tensor.contiguous() for name, tensor in self.average.state_dict().items()}
            seen = {INPUT_PX_KEY: str(self.settings.input_px)}
            save_file(tensors, self.settings.folder / "best.safetensors", seen)
        save(
            self.checkpoint,
            self.network,
            self.average,
            self.optimiser,
            self.progress,
            self.settings.to_go_on,
        )


def batch(
    stored: Stock,
    junk_pictures: Tensor,
    indices: Tensor,
    input_px: int,
    augment: Callable[[Slices, Tensor, int], Slices] = augmented,
) -> tuple[Slices, Tensor]:
    """Augmented slices of the stock and some junk, and which of them are heads (N,) 0 or 1."""
    picked = junk_pictures[torch.randint(len(junk_pictures), (JUNK_PER_BATCH,))]
    nothing, unknown = torch.zeros_like(picked), torch.full((len(picked),), UNLABELLED)
    raw = Slices(
        images=torch.cat([stored.images[indices], picked])[:, None] / 255,
        masks=torch.cat([stored.masks[indices], nothing])[:, None] / 255,
        depths=torch.cat([stored.depths[indices], nothing])[:, None].float(),
        tumour=torch.cat([stored.tumour[indices], unknown]),
        classes=torch.cat([stored.classes[indices], unknown]),
        masked=torch.cat([stored.masked[indices], torch.zeros(len(picked), dtype=torch.bool)]),
    )
    scale = torch.cat([stored.volume_scale[indices], torch.ones(len(picked))])
    is_head = torch.cat([torch.ones(len(indices)), torch.zeros(len(picked))])
    return augment(raw, scale, input_px), is_head


def val_scores(network: SliceNet, rows: Sequence[Row], input_px: int) -> dict[str, float]:
    """AUC within patients and across sources, and mean Dice of the decoder."""
    answers = list(predictions(network, rows, input_px))
    within = [a for a in answers if a.row.source in PATIENT_SOURCES]
    across = [a for a in answers if a.row.source not in PATIENT_SOURCES]
    overlaps = [
        dice(standing_out(decoded(a), MASK_SHARE), truth) for a in answers if (truth := lesion(a)) is not None
    ]
    return {
        "within": auc_roc([a.row.tumour is True for a in within], [a.tumour for a in within]),
        "across": auc_roc([a.row.tumour is True for a in across], [a.tumour for a in across]),
        "dice": float(np.mean(overlaps)) if overlaps else 0.0,
    }
