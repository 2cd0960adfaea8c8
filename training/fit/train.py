"""``python -m training train``: trains a slice model for a given time and stops by itself."""

import copy
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress as Bar
from safetensors.torch import save_file
from torch import Tensor

from training.data.manifest import read
from training.data.non_heads import junk
from training.data.samples import UNLABELLED, Draw, Stock
from training.fit.augment import Slices, augmented
from training.fit.checkpoint import AnotherRun, Progress, check_same, resume, save
from training.fit.initial_weights import RANDOM, begin, teachers
from training.fit.losses import loss, soft_loss
from training.fit.models import INPUT_PX_KEY, MODELS
from training.fit.recipes import RECIPES
from training.fit.settings import SMALL_PX, TrainingSettings, settings_from
from training.fit.thread_tuning import ThreadTuning
from worker.vision.network import Network, SliceNet, SliceOutputs

BATCH, JUNK_PER_BATCH, JUNK_PICTURES = 32, 3, 2200
ENCODER_RATE_SHARE, WEIGHT_DECAY = 0.5, 0.02
WARM_UP_STEPS, LARGEST_GRADIENT = 150, 5.0
AVERAGE_DECAY = 0.998
LAST_RATE_SHARE = 0.01
LOG_STEPS = 50
HARD_SHARE = 0.5  # of the loss on labels, beside teachers

log = logging.getLogger("training")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = settings_from(arguments)
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


class Run:
    """A training run: the data in memory, the network, its average, the optimiser, the progress."""

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        if self.checkpoint.is_file():
            check_same(self.checkpoint, settings.fixed)
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
        self.pace = ThreadTuning(settings.threads)
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
            apart = torch.stack([soft_loss(outputs, target) for target in taught]).mean()
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
        score = mean_of_defined(scores.values())
        text = " ".join(f"{name} {value:.4f}" for name, value in scores.items())
        log.info("val at %.1f min: %s mean %.4f", self.progress.seconds / 60, text, score)
        if score > self.progress.best_score:
            self.progress.best_score = score
            tensors = {name: tensor.contiguous() for name, tensor in self.average.state_dict().items()}
            metadata = {INPUT_PX_KEY: str(self.settings.input_px)}
            save_file(tensors, self.settings.folder / "best.safetensors", metadata)
        save(
            self.checkpoint,
            self.network,
            self.average,
            self.optimiser,
            self.progress,
            self.settings.fixed,
        )


def mean_of_defined(figures: Iterable[float]) -> float:
    """Mean of the figures that the labels of val define; 0 where there is none, so that weights are kept."""
    defined = [figure for figure in figures if not np.isnan(figure)]
    return sum(defined) / len(defined) if defined else 0.0


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
