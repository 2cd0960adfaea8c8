"""Choose the study rule on validation data: ``python -m training.study_rule``.

Whole volumes of the split ``study-val``, isotropic ones cut in all three planes, give the smoothing: that
with the widest gap between tumour-free and tumour volumes. They are few, so the two thresholds come from
them together with the series that the slices of the split ``val`` make (``training.series``). The other
numbers come from anatomy or from what a tumour is, and are named here. Run ``training.feature_statistics``
before.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from neurotriage.core.settings import WorkerSettings
from neurotriage.core.values import Outcome, Plane
from neurotriage.core.volume import Volume
from training.manifest import read
from training.series import series_of
from training.volumes import VolumeRow, read_rows, read_volume
from worker.vision import registry
from worker.vision.decide import decide_series, score_series
from worker.vision.eligibility import Sections, measure_sections
from worker.vision.models import Model, network_model
from worker.vision.predict import SlicePredictions, predict
from worker.vision.rule import RULE_FILE, StudyRule

DEFAULT_MODEL = "mr-teacher"
THICKEST_MM = 3.0  # slices further apart are not cut in other planes
SMOOTHINGS_MM = (4.0, 6.0, 8.0, 12.0)
EDGE = 1e-4  # scores are compared as logits between this and 1 - this
MISSED_SHARE = 0.02  # of the tumours of the validation data may score less than "low"
FALSE_ALARM_SHARE = 0.02  # of the tumour-free series may score "high" or more
ODD_MARGIN = 1.5  # a series is too odd this many times beyond the oddest of the volumes
# Whatever the validation data say: a score above it is never "absent", one below it never "present".
EVEN_ODDS = 0.5

STARTING_POINT = {
    "noise_correlation": 0.5,  # white noise: 0; real heads here: 0.85 and more
    "head_probability": 0.5,
    "filled_share": 0.7,  # series of training and validation heads: 0.82 and more
    "odd_score": 1.0,
    "smoothing_mm": 6.0,
    "blank_section": 0.05,  # 30 mm across where the largest section is 130 mm
    "small_section": 0.35,
    "brain_height_mm": 140.0,  # vertex to foramen magnum of a large head
    "outer_weight": 0.75,
    "low": 0.3,
    "high": 0.7,
    "certain": 0.95,
    "lesion_mm3": 400.0,  # a ball of 9 mm: smaller ones are below what thick slices show
    "lesion_slices": 2,
    "heat_level": 0.5,
    "fewest_slices": 5,
    "least_mm": 25.0,  # a lesion must be seen on neighbouring slices
    "coverage_mm": 80.0,  # two thirds of a brain's height
}


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One volume in one plane, after the network."""

    name: str
    tumour: bool
    volume: Volume
    predictions: SlicePredictions
    sections: Sections
    odd: float  # median over slices


def study_rule(volumes: Path, manifest: Path, model: str, weights_dir: Path) -> StudyRule:
    """Choose the rule of one model, write it beside the weights and print what it does."""
    card = registry.card(model, weights_dir)
    start = first_rule(card, weights_dir)
    ready = network_model(card, start, weights_dir)
    rows = [row for row in read_rows(volumes) if row.split == "study-val" and row.modality == card.modality]
    seen = [one for row in rows for one in look(row, ready)]
    val = read(manifest, card.modality).of_split("val")
    series = [after_network(name, tumour, volume, ready) for name, tumour, volume in series_of(val)]
    rule = choose(seen, series, start)
    figures = [figure(one, rule) for one in seen]
    write(weights_dir / RULE_FILE, card.modality, rule, figures)
    for line in figures:
        print(line)
    return rule


def first_rule(card: registry.ModelCard, weights_dir: Path) -> StudyRule:
    """The rule before anything was chosen."""
    features = f"{card.name}.features.safetensors"
    digest = sha256((weights_dir / features).read_bytes()).hexdigest()
    numbers = STARTING_POINT | {"mask_level": card.thresholds["mask"]}
    return StudyRule(card.name, card.sha256, features, digest, **numbers)  # type: ignore[arg-type]


def look(row: VolumeRow, model: Model) -> Iterator[Seen]:
    """The network's word on a volume, in one or three planes."""
    axial = read_volume(row)
    for plane in Plane if axial.thickness_mm <= THICKEST_MM else (Plane.AXIAL,):
        yield after_network(row.path.name, row.tumour is True, read_volume(row, plane), model)


def after_network(name: str, tumour: bool, volume: Volume, model: Model) -> Seen:
    """One volume after the network."""
    sections = measure_sections(volume)
    predictions = predict(volume, sections, model)
    odd = float(np.median(model.reference.score(predictions.features)))
    return Seen(name, tumour, volume, predictions, sections, odd)


def choose(seen: Sequence[Seen], series: Sequence[Seen], start: StudyRule) -> StudyRule:
    """The smoothing with the widest gap between volumes, and the thresholds at the ends of all scores."""
    tumour = np.array([one.tumour for one in seen])

    def gap(smoothing_mm: float) -> float:
        scores = logits(seen, replace(start, smoothing_mm=smoothing_mm))
        return float(scores[tumour].min() - scores[~tumour].max())

    rule = replace(start, smoothing_mm=max(SMOOTHINGS_MM, key=gap))
    everything = [*seen, *series]
    scores, positive = logits(everything, rule), np.array([one.tumour for one in everything])
    low = min(expit(np.quantile(scores[positive], MISSED_SHARE)), EVEN_ODDS)
    high = max(expit(np.quantile(scores[~positive], 1 - FALSE_ALARM_SHARE)), EVEN_ODDS)
    odd = ODD_MARGIN * max(one.odd for one in seen if one.volume.plane is Plane.AXIAL)  # as acquired
    return replace(
        rule,
        low=round(float(low), 3),
        high=round(float(high), 3),
        certain=round(float(1 + high) / 2, 3),
        odd_score=round(odd, 3),
    )


def logits(seen: Sequence[Seen], rule: StudyRule) -> NDArray[np.float64]:
    """(n,) series scores as logits."""
    scores = [score_series(one.volume, one.predictions, one.sections, rule).score for one in seen]
    return np.asarray(logit(np.clip(scores, EDGE, 1 - EDGE)))


def figure(one: Seen, rule: StudyRule) -> dict[str, object]:
    """What the rule says of one volume, for people."""
    found = score_series(one.volume, one.predictions, one.sections, rule)
    outcome: Outcome = decide_series(found, rule)[0]
    return {
        "volume": one.name,
        "plane": one.volume.plane.value,
        "tumour": one.tumour,
        "outcome": outcome.value,
        "score": round(found.score, 4),
        "lesion_mm3": round(max((lesion.volume_mm3 for lesion in found.lesions), default=0.0)),
        "head": round(float(np.median(one.predictions.head)), 3),
        "odd": round(one.odd, 3),
    }


def write(path: Path, modality: str, rule: StudyRule, figures: Sequence[dict[str, object]]) -> None:
    """Put the rule of one modality into the file, beside those of others."""
    rules = json.loads(path.read_text(encoding="utf-8"))["rules"] if path.is_file() else {}
    rules[modality] = asdict(rule) | {"chosen_on": list(figures)}
    path.write_text(json.dumps({"rules": rules}, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Choose the study rule on the split study-val")
    parser.add_argument("--volumes", type=Path, required=True, help="CSV of whole volumes")
    parser.add_argument("--manifest", type=Path, required=True, help="CSV of slices")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name in the registry")
    parser.add_argument("--weights", type=Path, default=WorkerSettings().weights, help="weights folder")
    arguments = parser.parse_args()
    study_rule(arguments.volumes, arguments.manifest, arguments.model, arguments.weights)


if __name__ == "__main__":
    main()
