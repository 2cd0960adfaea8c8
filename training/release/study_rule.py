"""Choose the study rule on validation data: ``python -m training study-rule``.

Whole volumes of the split ``study-val``, isotropic ones cut in all three planes, give the smoothing: that
with the fewest wrong answers and the fewest tumours left open. They are few, so the two thresholds come from
them together with the series that the slices of the split ``val`` make (``training.data.series``). The other
numbers come from anatomy or from what a tumour is, and are named here; those by which a series is refused,
whatever the network, stand in the file's part ``eligibility``, which is written by hand. Run the step
``feature-statistics`` before.

Of CT there are no such volumes: series with and without a synthetic mass stand for them
(``training.synthetic_ct.series``), and
``training.release.study_rule_ct`` chooses by them.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from scipy.special import expit

from neurotriage.core.settings import WorkerSettings
from neurotriage.core.values import Outcome, Plane
from training.data.manifest import read
from training.data.series import series_of
from training.data.volumes import VolumeRow, read_rows, read_volume
from training.options import step_parser
from training.release import study_rule_ct
from training.release.scored_series import (
    EVEN_ODDS,
    SMOOTHINGS_MM,
    STEP,
    ScoredSeries,
    after_network,
    figure,
    logits,
    with_thresholds,
)
from training.synthetic_ct.series import ct_series
from worker.eligibility import PART
from worker.vision.engines import TORCH
from worker.vision.model import EngineRequest, Model, network_model
from worker.vision.network import MOBILENET_V2
from worker.vision.registry import ModelCard, StudyRule, read_cards
from worker.vision.registry.rule import DECIDING, LIGHT, RULE_FILE
from worker.vision.series.decide import decide_series

THICKEST_MM = 3.0  # slices further apart are not cut in other planes
MISSED_SHARE = 0.02  # of the tumours of the validation data may score less than "low"
FALSE_ALARM_SHARE = 0.02  # of the tumour-free series may score "high" or more
DOUBT_SHARE = 0.1  # of the tumour-free volumes may score more than "low": a tumour called absent is worse

STARTING_POINT = {
    "head_probability": 0.5,
    "ood_limit_axial": 1.0,
    "ood_limit_coronal": 1.0,
    "ood_limit_sagittal": 1.0,
    "smoothing_mm": 6.0,
    "blank_section": 0.05,  # 30 mm across where the largest section is 130 mm
    "small_section": 0.35,
    "brain_height_mm": 140.0,  # vertex to foramen magnum of a large head
    "outer_weight": 0.75,
    "low": 0.3,
    "high": 0.7,
    "certain": 0.95,
    "mimic": 1.0,  # a model of tumours only knows none
    # A lesion goes on in the next slice. More smoothing would lose one that shows on two thick slices only;
    # the level is that of even odds: smoothed maps of volumes need none of their own as slices do.
    "mask_smoothing_mm": 5.0,
    "mask_level": 0.5,
    "lesion_mm3": 400.0,  # a ball of 9 mm: smaller ones are below what thick slices show
    "lesion_slices": 2,
    "lesion_heat": 0.0,  # lesions of MR are outlined from real masks: the decoder needs no second opinion
    "heat_level": 0.5,
    "coverage_mm": 80.0,  # two thirds of a brain's height
}
CT_STARTING_POINT = {
    "small_section": 0.45,  # of the brain: less at the skull base, where two thirds of a section are face
    "outer_weight": 0.5,  # such slices alone are doubtful at most
    "lesion_heat": 0.35,
}


def study_rule(
    volumes: Path, manifest: Path, model: str, weights_dir: Path, engine: str = TORCH
) -> StudyRule:
    """Choose the rule of one model, write it beside the weights and print what it does."""
    card = read_cards(weights_dir).card(model)
    start = first_rule(card, weights_dir)
    ready = network_model(card, start, weights_dir, EngineRequest(engine))
    if card.modality == "CT":
        known = study_rule_ct.look(ct_series(read(manifest, "CT").of_split("val"), volumes), ready)
        rule = study_rule_ct.choose(known, start)
        return _finished(rule, card, study_rule_ct.figures(known, rule), weights_dir)
    rows = [row for row in read_rows(volumes) if row.split == "study-val" and row.modality == card.modality]
    whole = [scored for row in rows for scored in look(row, ready)]
    val = read(manifest, card.modality).of_split("val")
    series = [after_network(name, tumour, volume, ready) for name, tumour, volume in series_of(val)]
    rule = choose(whole, series, start)
    return _finished(rule, card, [figure(scored, rule) for scored in whole], weights_dir)


def _finished(
    rule: StudyRule, card: ModelCard, figures: Sequence[dict[str, object]], weights_dir: Path
) -> StudyRule:
    kind = LIGHT if card.architecture == MOBILENET_V2 else DECIDING
    write(weights_dir / RULE_FILE, card.modality, rule, figures, kind)
    for line in figures:
        print(line)
    if card.modality == "CT":
        print("\n".join(study_rule_ct.summary(figures)))
    return rule


def first_rule(card: ModelCard, weights_dir: Path) -> StudyRule:
    """The rule before anything was chosen."""
    features = f"{card.name}.features.safetensors"
    digest = sha256((weights_dir / features).read_bytes()).hexdigest()
    numbers = dict(STARTING_POINT)
    if card.modality == "CT":
        numbers |= CT_STARTING_POINT | {"mimic": card.thresholds["look_alike"]}
    return StudyRule(card.name, card.sha256, features, digest, **numbers)  # type: ignore[arg-type]


def look(row: VolumeRow, model: Model) -> Iterator[ScoredSeries]:
    """A volume after the network, in one plane, or in three where its slices are thin."""
    axial = read_volume(row)
    for plane in Plane if axial.thickness_mm <= THICKEST_MM else (Plane.AXIAL,):
        yield after_network(row.path.name, row.tumour is True, read_volume(row, plane), model)


def choose(volumes: Sequence[ScoredSeries], series: Sequence[ScoredSeries], start: StudyRule) -> StudyRule:
    """Of all smoothings, with the thresholds that belong to each, the one that answers best on volumes.

    Wrong answers count first, then tumours left undetermined, then how narrow the gap is between the lowest
    score of a tumour and the highest without.
    """
    rules = [thresholds(volumes, series, replace(start, smoothing_mm=mm)) for mm in SMOOTHINGS_MM]
    return min(rules, key=lambda rule: faults(volumes, rule))


def faults(volumes: Sequence[ScoredSeries], rule: StudyRule) -> tuple[int, int, float]:
    """Wrong answers, tumours left undetermined, and minus the gap between volumes with and without tumour."""
    tumour = np.array([volume.tumour for volume in volumes])
    said = [decide_series(volume.score(rule), rule)[0] for volume in volumes]
    pairs = Counter((volume.tumour, outcome) for volume, outcome in zip(volumes, said, strict=True))
    wrong = pairs[True, Outcome.ABSENT] + pairs[False, Outcome.PRESENT]
    scores = logits(volumes, rule)
    return wrong, pairs[True, Outcome.UNDETERMINED], float(scores[~tumour].max() - scores[tumour].min())


def thresholds(volumes: Sequence[ScoredSeries], series: Sequence[ScoredSeries], rule: StudyRule) -> StudyRule:
    """The rule with its thresholds, for the smoothing that it has.

    Nearly all tumour-free volumes score below ``low``, whatever engine is used. Next to no tumour-free series
    scores ``high`` or more, not even a patient's slices beside the tumour.
    """
    tumour = np.array([volume.tumour for volume in volumes])
    everything = [*volumes, *series]
    scores, positive = logits(everything, rule), np.array([scored.tumour for scored in everything])
    free_of_doubt = np.quantile(logits(volumes, rule)[~tumour], 1 - DOUBT_SHARE)
    low = min(expit(min(np.quantile(scores[positive], MISSED_SHARE), free_of_doubt)), EVEN_ODDS)
    outer = rule.outer_weight + STEP  # so that slices without brain are never enough
    high = max(expit(np.quantile(scores[~positive], 1 - FALSE_ALARM_SHARE)), EVEN_ODDS, outer)
    return with_thresholds(rule, everything, float(low), float(high))


def write(
    path: Path, modality: str, rule: StudyRule, figures: Sequence[dict[str, object]], kind: str = DECIDING
) -> None:
    """Put the rule of one modality into the file, beside those of others.

    A file without the part ``eligibility`` gets that of the release.
    """
    release = json.loads((WorkerSettings().weights / RULE_FILE).read_text(encoding="utf-8"))
    parts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    parts.setdefault(PART, release[PART])
    parts.setdefault(kind, {})[modality] = asdict(rule) | {"chosen_on": list(figures)}
    path.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = step_parser(
        "study-rule",
        "Choose the thresholds for whole studies on the split study-val, and write them beside the weights",
        "--volumes",
        "--manifest",
        "--model",
        "--weights",
        "--engine",
    )
    options = parser.parse_args(arguments)
    study_rule(options.volumes, options.manifest, options.model, options.weights, options.engine)
