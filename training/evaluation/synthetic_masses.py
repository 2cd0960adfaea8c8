"""How well a CT model tells slices with a synthetic mass from the very same slices without.

``python -m training evaluate-ct`` prints, for the split given: the area under the ROC curve by source
(synthetic), the figures on the few real tumours, how far the score follows border, window and black
share, and the scores of the healthy CT volumes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from training.data.manifest import read
from training.data.samples import STORED_PX, seen_box
from training.data.sources import LESION_FREE
from training.data.volumes import read_rows, read_volume
from training.evaluation.deciding import named
from training.evaluation.metrics import MASK_SHARES, auc_roc, dice, standing_out
from training.options import step_parser
from training.synthetic_ct.hosts import Grey, hosts_of
from training.synthetic_ct.lesions import lesions_of
from training.synthetic_ct.samples import BLEEDS, MIMIC, CtCase, cases_of, volume_hosts
from worker.vision.network import Network
from worker.vision.registry import ModelCard
from worker.vision.registry.loading import load_network
from worker.vision.slices.preprocess import head_box, network_input, network_inputs
from worker.vision.slices.window import brain_window

SEED = 20_000  # of held-apart cases; training draws from other seeds
MASSES_EACH = 2
SECTIONS_EACH = {"ct_template_head": 24, "ct_template_brain_only": 12}
BATCH_SLICES = 32
SMALL_SECTION = 0.35  # as the study rule of MR: under it a slice hardly counts
NOT_JUDGED = ("aanlib-33",)  # a bleed and lesions of unknown nature
SEEN = seen_box(STORED_PX)


@dataclass(frozen=True, slots=True, eq=False)
class CtScores:
    """A network's answers to n cases."""

    cases: tuple[CtCase, ...]
    tumour: NDArray[np.float64]  # (n,) logits
    classes: NDArray[np.float64]  # (n, 3) probabilities
    overlap: NDArray[np.float64]  # (n, MASK_SHARES) Dice of the decoder, nan where no mass is known

    def dice(self, mask_share: float) -> float:
        """Mean Dice over the synthetic masses at one of MASK_SHARES."""
        return float(np.nanmean(self.overlap[:, MASK_SHARES.index(mask_share)]))

    def of(self, kind: str, source: str | None = None) -> NDArray[np.bool_]:
        """(n,) which cases are of a kind (and of a source)."""
        return np.array([c.kind == kind and source in (None, c.host.source) for c in self.cases], bool)

    @property
    def sources(self) -> list[str]:
        return sorted({case.host.source for case in self.cases if case.kind == "mass"})


def held_apart(manifest: Path, split: str, masses: int = MASSES_EACH) -> tuple[CtCase, ...]:
    """Cases of the rows of a split that was not trained on, and fresh sections of the template volumes.

    Some of the masses have the shape of lesions of the same split's MR slices.
    """
    random = np.random.default_rng(SEED)
    lesions = lesions_of(read(manifest, "MR").of_split(split))
    judged = [row for row in read(manifest, "CT").of_split(split) if row.group not in NOT_JUDGED]
    hosts = [*hosts_of(judged), *volume_hosts(manifest.parent, SECTIONS_EACH, random)]
    return tuple(case for host in hosts for case in cases_of(host, random, masses, 1, lesions))


@torch.inference_mode()
def scores(network: Network, cases: tuple[CtCase, ...], input_px: int) -> CtScores:
    """Run the network over cases, framed as at run time, as inputs of ``input_px``."""
    tumour, classes, overlap = [], [], []
    for start in range(0, len(cases), BATCH_SLICES):
        some = cases[start : start + BATCH_SLICES]
        inputs = torch.from_numpy(np.stack([network_input(case.picture, SEEN, input_px) for case in some]))
        outputs = network(inputs.contiguous(memory_format=torch.channels_last))
        tumour += outputs.tumour.double().tolist()
        classes += torch.softmax(outputs.classes.double(), 1).tolist()
        overlap += [_overlap(case, mask) for case, mask in zip(some, outputs.mask[:, 0], strict=True)]
    return CtScores(cases, np.array(tumour), np.array(classes), np.array(overlap))


def ct_val_scores(judged: CtScores) -> dict[str, float]:
    """The figures by which a training run chooses its best weights: of synthetic masses and real bleeds."""
    by_source = with_against_without(judged)
    return {
        "with_without": float(np.mean(list(by_source.values()))),
        "worst_source": min(value for source, value in by_source.items() if source in LESION_FREE),
        "against_bleeds": mass_against_bleeds(judged),
        "bleeds": bleeds_found(judged),
        "dice": max(judged.dice(share) for share in MASK_SHARES),
    }


def with_against_without(judged: CtScores) -> dict[str, float]:
    """AUC by source: slices with a synthetic mass against the same slices without."""
    return {
        source: auc(judged.tumour, judged.of("mass", source), judged.of("plain", source))
        for source in judged.sources
    }


def mass_against_bleeds(judged: CtScores) -> float:
    """AUC of the tumour score: synthetic masses against real and synthetic look-alikes of any source."""
    alike = judged.of("look_alike") | judged.of("plain", BLEEDS)
    return auc(judged.tumour, judged.of("mass"), alike)


def bleeds_found(judged: CtScores) -> float:
    """AUC of the look-alike output: real bleeds against healthy slices of the same kind of source."""
    healthy = judged.of("plain", "headct-normal")
    return auc(judged.classes[:, MIMIC], judged.of("plain", BLEEDS), healthy)


def auc(score: NDArray[np.float64], positive: NDArray[np.bool_], negative: NDArray[np.bool_]) -> float:
    """AUC of positives against negatives, both (n,) bool."""
    chosen = positive | negative
    return auc_roc(positive[chosen], score[chosen])


def report(judged: CtScores, card: ModelCard) -> dict[str, Any]:
    """All figures on held-apart cases; "synthetic" in a name says that the masses are."""
    real, ill = judged.of("real"), judged.of("mass")
    free = {name: judged.of("plain", name) for name in judged.sources}
    pushed, with_mass = _differences(judged), [case for case in judged.cases if case.kind == "mass"]
    return {
        "cases": {kind: int(judged.of(kind).sum()) for kind in sorted({c.kind for c in judged.cases})},
        "synthetic_with_against_without_auc": with_against_without(judged),
        "synthetic_pairs_in_order": {
            source: float((pushed[[c.host.source == source for c in with_mass]] > 0).mean())
            for source in judged.sources
        },
        "synthetic_mass_against_look_alikes_auc": mass_against_bleeds(judged),
        "synthetic_dice": judged.dice(card.thresholds["mask"]),
        "real_bleeds_against_healthy_auc": bleeds_found(judged),
        "synthetic_look_alike_against_plain_auc": auc(
            judged.classes[:, MIMIC], judged.of("look_alike"), judged.of("plain")
        ),
        "real_tumours": int(real.sum()),
        "real_tumours_auc_against": {name: auc(judged.tumour, real, rows) for name, rows in free.items()},
        "real_tumours_auc_inside_source": {
            name: auc(judged.tumour, judged.of("real", name), rows)
            for name, rows in free.items()
            if judged.of("real", name).any()
        },
        "synthetic_difference_logit": {
            "mean": float(pushed.mean()),
            "spread_between_plain_slices": float(judged.tumour[judged.of("plain")].std()),
        },
        "correlation_with_grey_values": _correlations(judged, judged.of("plain")),
        "mean_probability": {
            "mass": _mean_probability(judged.tumour[ill], card.temperature),
            "real": _mean_probability(judged.tumour[real], card.temperature) if real.any() else None,
            **{name: _mean_probability(judged.tumour[rows], card.temperature) for name, rows in free.items()},
        },
    }


@torch.inference_mode()
def volume_scores(network: Network, volumes: Path, splits: Sequence[str], input_px: int) -> dict[str, Any]:
    """Largest slice logit of each tumour-free CT volume, three neighbours averaged, without end slices."""
    results: dict[str, Any] = {}
    for row in read_rows(volumes):
        if row.modality != "CT" or row.split not in splits:
            continue
        volume = read_volume(row)
        shown = brain_window(np.asarray(volume.voxels))
        shown = shown[_enough_tissue(shown)]
        inputs = torch.from_numpy(network_inputs(shown, head_box(shown, volume.pixel_spacing_mm), input_px))
        outputs = [network(inputs[i : i + BATCH_SLICES]) for i in range(0, len(inputs), BATCH_SLICES)]
        logits = torch.cat([o.tumour for o in outputs]).double().numpy()
        alike = torch.cat([o.classes.softmax(1)[:, MIMIC] for o in outputs]).double().numpy()
        results[row.path.name] = {
            "split": row.split,
            "tumour_logit": float(_three(logits).max()),
            "look_alike": float(_three(alike).max()),
        }
    return results


def _enough_tissue(shown: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(slices,) those that are no end slices: their section is not far below the largest."""
    area = (shown > 0).mean((1, 2))
    result: NDArray[np.bool_] = area > SMALL_SECTION * area.max()
    return result


def _three(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.convolve(values, np.full(3, 1 / 3), "valid")


def _overlap(case: CtCase, logits: torch.Tensor) -> list[float]:
    """Dice at each of MASK_SHARES."""
    if not case.mass.any():
        return [float("nan")] * len(MASK_SHARES)
    side = SEEN.width_px
    shown = torch.nn.functional.interpolate(logits[None, None], (side, side), mode="bilinear")[0, 0].sigmoid()
    truth = case.mass[SEEN.y0 : SEEN.y1, SEEN.x0 : SEEN.x1]
    return [dice(standing_out(shown.numpy(), share), truth) for share in MASK_SHARES]


def _differences(judged: CtScores) -> NDArray[np.float64]:
    """Logit with a mass less the logit of the same slice without."""
    plain = {id(c.host): s for c, s in zip(judged.cases, judged.tumour, strict=True) if c.kind == "plain"}
    pairs = zip(judged.cases, judged.tumour, strict=True)
    return np.array([score - plain[id(case.host)] for case, score in pairs if case.kind == "mass"])


def _correlations(judged: CtScores, rows: NDArray[np.bool_]) -> dict[str, float]:
    """Correlation of the tumour logit with what tells the sources apart, over the slices as they are."""
    pictures = [case.picture for case, chosen in zip(judged.cases, rows, strict=True) if chosen]
    table = {name: [measure(p) for p in pictures] for name, measure in _GREY_VALUES.items()}
    return {
        name: float(np.corrcoef(values, judged.tumour[rows])[0, 1]) if np.std(values) > 0 else 0.0
        for name, values in table.items()
    }


def _border(picture: Grey) -> float:
    return float(np.concatenate([picture[:3].ravel(), picture[-3:].ravel()]).mean())


_GREY_VALUES: Mapping[str, Callable[[Grey], float]] = {
    "border": _border,
    "black_share": lambda picture: float((picture < 0.02).mean()),
    "white_share": lambda picture: float((picture > 0.98).mean()),
    "mean": lambda picture: float(picture.mean()),
    "spread": lambda picture: float(picture.std()),
}


def _mean_probability(logits: NDArray[np.float64], temperature: float) -> float:
    return float(np.mean(expit(logits / temperature)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("evaluate-ct", __doc__, "--manifest", "--weights", "--json")
    parser.add_argument("--model", default="ct", help="name in the registry; ct: what decides by default")
    parser.add_argument("--split", choices=("val", "test"), default="val", help="split to evaluate on")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    card = named(options.model, options.weights)
    network = load_network(card, options.weights)
    judged = scores(network, held_apart(options.manifest, options.split), card.input_px)
    splits = ("train", "study-val") if options.split == "val" else ("study-test",)
    figures = {
        "model": card.name,
        "sha256": card.sha256,
        "split": options.split,
        **report(judged, card),
        "volumes": volume_scores(network, options.manifest.parent / "volumes.csv", splits, card.input_px),
    }
    text = json.dumps(figures, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)
