"""The rule file beside the weights: every number that decides, from pixels to an outcome.

``weights/study_rule.json`` holds one study rule per modality, which turns slice scores into an outcome and
which ``training.release.study_rule`` writes from whole volumes of the split ``study-val``; and the numbers by
which a series is refused (``worker.eligibility.rule``). Nothing here has a default, so that no number is
decided in code.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from neurotriage.core.values import Plane
from worker.eligibility import PART, EligibilityRule, parse_rule
from worker.vision.registry.cards import BadWeights

RULE_FILE = "study_rule.json"
DECIDING, LIGHT = "rules", "light"  # its parts: the models that decide, and those to fall back on


@dataclass(frozen=True, slots=True)
class StudyRule:
    """Operating points of one modality and the weights for which they were chosen."""

    model: str  # name in the registry
    model_sha256: str  # of the weights on which the numbers below were chosen
    features_file: str  # reference features, beside the weights
    features_sha256: str
    # eligibility; what does not depend on the network stands in ``worker.eligibility.rule``
    head_probability: float  # median over slices; a series below shows no head
    ood_limit_axial: (
        float  # median out-of-distribution score; an axial series above is unlike the training data
    )
    ood_limit_coronal: float  # fewer coronal and sagittal slices were there to learn from: heads score higher
    ood_limit_sagittal: float
    # from slices to the series
    smoothing_mm: float  # standard deviation of the Gaussian along the slice axis
    blank_section: float  # share of the largest head section under which a slice shows nothing
    small_section: float  # share of the largest head section under which a slice counts less
    brain_height_mm: float  # axial slices further below the vertex count less
    outer_weight: float  # what such slices count
    low: float  # series score below: absent
    high: float  # series score from here on: present where the mask agrees
    certain: float  # series score from here on: present even without a mask
    mimic: float  # score of a tumour mimic from here on: never absent; unused where the model knows none
    # mask
    mask_smoothing_mm: float  # of the decoder's maps, as ``smoothing_mm`` is of the scores
    mask_level: float  # decoder probability from which a pixel is lesion
    lesion_mm3: float  # the least lesion that agrees with the classifier
    lesion_slices: int  # and on how many neighbouring slices it has to be
    lesion_heat: float  # share of the hottest point that lies in it at least: what the classifier looked at
    heat_level: float  # share of the hottest point that stands in for a missing mask
    coverage_mm: float  # along the slice axis; less is never absent

    def ood_limit(self, plane: Plane) -> float:
        """The out-of-distribution score above which a series of a plane is refused."""
        return {
            Plane.AXIAL: self.ood_limit_axial,
            Plane.CORONAL: self.ood_limit_coronal,
            Plane.SAGITTAL: self.ood_limit_sagittal,
        }[plane]


@dataclass(frozen=True, slots=True)
class RuleFile:
    """All that ``study_rule.json`` decides."""

    eligibility: EligibilityRule
    deciding: Mapping[str, StudyRule]  # of the models that decide, by modality ("MR", "CT")
    light: Mapping[str, StudyRule]  # of the light ones, if any


def read_rule_file(weights_dir: Path) -> RuleFile:
    """Read the rule file of a weights folder. Raises BadWeights where it is missing or damaged."""
    path = weights_dir / RULE_FILE
    try:
        parts = {LIGHT: {}, **json.loads(path.read_text(encoding="utf-8"))}
        if PART not in parts:
            raise BadWeights(f"{path} has no part {PART!r}; take it from the release's file")
        return RuleFile(parse_rule(parts[PART]), _rules(parts[DECIDING]), _rules(parts[LIGHT]))
    except FileNotFoundError:
        raise BadWeights(
            f"no study rule at {path}; restore it or run python -m training study-rule"
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadWeights(f"the study rule {path} is damaged: {error!r}") from error


def _rules(rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, StudyRule]:
    return MappingProxyType({modality: _rule(row) for modality, row in rows.items()})


def _rule(row: Mapping[str, Any]) -> StudyRule:
    """Fields by name and type; figures that lie beside them are for people and are not read."""
    return StudyRule(**{field.name: field.type(row[field.name]) for field in fields(StudyRule)})  # type: ignore[operator]
