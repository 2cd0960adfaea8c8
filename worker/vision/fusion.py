"""CT and MR of one head judged together, where they are known to lie in one space.

Nothing runs an encoder here: what the fusion sees comes from the pass that judged each series alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurotriage.core.values import Prediction, Reason, ReasonCode
from neurotriage.core.volume import Registration, Volume
from neurotriage.core.wording import counted, percent
from worker.vision.models import Models
from worker.vision.network import CLASSES, grad_cam
from worker.vision.network.fusion import MODALITIES, FusionNet, tumour_logit
from worker.vision.registry import BadWeights, FusionCard
from worker.vision.series.decide import TUMOUR, series_classes, slice_weights
from worker.vision.series.judge import SeriesResult, raised
from worker.vision.series.predict import MemberFeatures
from worker.vision.slices.slice_axis import slice_positions_mm, slice_steps_mm, smooth

CT, MR = MODALITIES
CT_AND_MR = f"{CT}+{MR}"
LARGEST_ANGLE_DEG = 20.0  # between slices that show the same: as much as training turned and tilted them
MIN_PAIRS = 3
APART = "CT and MR were judged apart"


@dataclass(frozen=True, slots=True, eq=False)
class FusionResult:
    """What the fusion says of one CT and one MR series."""

    prediction: Prediction  # about the study
    ct: SeriesResult
    mr: SeriesResult
    ct_heat: NDArray[np.float32]  # (n, fh, fw) Grad-CAM of the fused score on the slices of each series,
    mr_heat: NDArray[np.float32]  # as hot as the series' own at its hottest; 0 on slices without a partner

    @property
    def score(self) -> float:
        return self.prediction.probabilities[TUMOUR]


def fuse(
    judged: Sequence[SeriesResult], models: Models, registrations: Sequence[Registration]
) -> tuple[FusionResult | None, str]:
    """The CT and the MR series with the most slices in common, judged together; else None and why not.

    The sentence is empty where there is nothing to fuse, or nothing to fuse it with.
    """
    card = models.fusion
    if card is None or {one.volume.modality for one in judged} != set(MODALITIES):
        return None, ""
    by_modality = {
        modality: [
            one for one in judged if one.volume.modality == modality and one.predictions.seen is not None
        ]
        for modality in MODALITIES
    }
    for modality, some in by_modality.items():
        if not some:
            return None, f"{APART}: the network {card.members[modality].name} did not answer"
    found: list[tuple[SeriesResult, SeriesResult, NDArray[np.intp]]] = []
    reasons: list[str] = []
    for ct, mr in product(*by_modality.values()):
        pairs = common_slices(ct, mr, registrations)
        if isinstance(pairs, str):
            reasons.append(pairs)
        else:
            found.append((ct, mr, pairs))
    if not found:
        return None, f"{APART}: {'; '.join(dict.fromkeys(reasons))}"
    ct, mr, pairs = max(found, key=lambda one: len(one[2]))
    try:
        return _fused(ct, mr, pairs, card, models), ""
    except BadWeights:  # which were checked at the start; the answers of each alone are there
        return None, f"{APART}: the weights of the fusion cannot be loaded any more"


def common_slices(
    ct: SeriesResult, mr: SeriesResult, registrations: Sequence[Registration]
) -> NDArray[np.intp] | str:
    """(n, 2) which looked-at slice of the CT shows the same as which of the MR; else why there is none."""
    matrix = common_space(ct.volume, mr.volume, registrations)
    if matrix is None:
        return "they have no common frame of reference and no registration joins them"
    turn = matrix[:3, :3] @ _normal(mr.volume)
    cosine = min(1.0, abs(float(_normal(ct.volume) @ turn)))
    if cosine < np.cos(np.deg2rad(LARGEST_ANGLE_DEG)):
        return f"their slices cross at {np.rad2deg(np.arccos(cosine)):.0f} degrees"
    pairs = _nearest(ct, mr, matrix)
    if len(pairs) < MIN_PAIRS:
        return f"they have {counted(len(pairs), 'slice')} in common, at least {MIN_PAIRS} are needed"
    return pairs


def common_space(ct: Volume, mr: Volume, registrations: Sequence[Registration]) -> NDArray[np.float64] | None:
    """(4, 4) from the MR's patient coordinates to the CT's; None where nothing says how they lie.

    Frame of Reference UID: PS3.3 C.7.4.1; what has the same one lies in the same space. A registration may
    lead from one to the other, or from both to a third.
    """
    ct_uid, mr_uid = ct.frame_of_reference_uid, mr.frame_of_reference_uid
    if ct_uid is None or mr_uid is None:
        return None
    if ct_uid == mr_uid:
        return np.eye(4)
    for target in {one.target_uid for one in registrations}:
        ways = {one.source_uid: one.matrix for one in registrations if one.target_uid == target}
        ways = {target: np.eye(4), **ways}
        if ct_uid in ways and mr_uid in ways:
            matrix: NDArray[np.float64] = np.linalg.inv(ways[ct_uid]) @ ways[mr_uid]
            return matrix
    return None


def raised_by(fused: FusionResult, judged: Sequence[SeriesResult]) -> tuple[SeriesResult, ...]:
    """The series, of which those of the pair that ended in doubt are positive where the fusion says so.

    A possible bleed stays one: the fusion knows no look-alikes. Nothing that was positive is lowered.
    """
    if fused.score < fused.prediction.threshold:
        return tuple(judged)
    heat = {id(fused.ct): fused.ct_heat, id(fused.mr): fused.mr_heat}
    reason = Reason(ReasonCode.TUMOUR, f"tumour on CT and MR together, probability {percent(fused.score)}")
    return tuple(
        raised(one, reason, heat[id(one)])
        if id(one) in heat and one.reason.code is ReasonCode.NO_SAFE_ANSWER
        else one
        for one in judged
    )


def _normal(volume: Volume) -> NDArray[np.float64]:
    normal: NDArray[np.float64] = np.cross(volume.row_direction, volume.column_direction)
    return normal


def _nearest(ct: SeriesResult, mr: SeriesResult, matrix: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each MR slice the CT slice nearest to its middle, within half a step of the wider stack.

    Slices that show next to nothing have no partner.
    """
    at_ct = slice_positions_mm(ct.volume)[ct.predictions.indices]
    rows, columns = mr.volume.voxels.shape[1:]
    points = np.array(
        [mr.volume.to_patient_mm((columns - 1) / 2, (rows - 1) / 2, int(i)) for i in mr.predictions.indices]
    )
    along = (points @ matrix[:3, :3].T + matrix[:3, 3]) @ _normal(ct.volume)
    apart = np.abs(along[:, None] - at_ct)
    at_mr = slice_positions_mm(mr.volume)[mr.predictions.indices]
    steps_mm = (
        slice_steps_mm(at, volume.thickness_mm) for at, volume in ((at_ct, ct.volume), (at_mr, mr.volume))
    )
    close = apart.min(1) <= max(float(np.median(step)) for step in steps_mm) / 2
    pairs: NDArray[np.intp] = np.stack([apart.argmin(1), np.arange(len(along))], 1)[close]
    return pairs[_shows(ct)[pairs[:, 0]] & _shows(mr)[pairs[:, 1]]]


def _shows(one: SeriesResult) -> NDArray[np.bool_]:
    """(n,) the looked-at slices on which there is something to see."""
    shares = one.sections.shares[one.predictions.indices]
    result: NDArray[np.bool_] = shares >= one.model.rule.blank_section
    return result


@torch.inference_mode()
def _fused(
    ct: SeriesResult, mr: SeriesResult, pairs: NDArray[np.intp], card: FusionCard, models: Models
) -> FusionResult:
    network = models.fusion_network(card)
    features = _features(ct, pairs[:, 0]), _features(mr, pairs[:, 1])
    both = torch.ones(len(pairs), len(MODALITIES), dtype=torch.bool)
    smoothed, classes = _scores(network, features, both, (ct, mr), pairs, card)
    left_out = {}
    for place, modality in enumerate(MODALITIES):
        given = both.clone()
        given[:, place] = False
        left_out[modality] = float(_scores(network, features, given, (ct, mr), pairs, card)[0].max())
    kinds = series_classes(CLASSES, classes, smoothed, np.zeros_like(smoothed))
    gradients = network.pooled_gradients(*features, both)
    prediction = Prediction(
        model=card.name,
        version=card.version,
        sha256=card.sha256,
        modality=CT_AND_MR,
        probabilities={TUMOUR: float(smoothed.max()), **kinds},
        threshold=card.thresholds["raise"],
        left_out=left_out,
    )
    heats = (_heat(one, pairs[:, k], gradients[k]) for k, one in enumerate((ct, mr)))
    return FusionResult(prediction, ct, mr, *heats)


def _scores(
    network: FusionNet,
    features: tuple[Tensor, Tensor],
    given: Tensor,
    series: tuple[SeriesResult, SeriesResult],
    pairs: NDArray[np.intp],
    card: FusionCard,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) probabilities of a tumour, weighed and smoothed as in a series, and (n, 3) of the classes."""
    classes = network(*features, given).classes.double()
    tumour = torch.sigmoid(tumour_logit(classes) / card.temperature).numpy()
    rules = [one.model.rule for one in series]
    weights = np.min(
        [
            slice_weights(one.volume, one.sections, rule)[one.predictions.indices[pairs[:, place]]]
            for place, (one, rule) in enumerate(zip(series, rules, strict=True))
        ],
        axis=0,
    )
    mr = series[1]
    along_mm = slice_positions_mm(mr.volume)[mr.predictions.indices[pairs[:, 1]]]
    return smooth(tumour * weights, along_mm, mr.model.rule.smoothing_mm), classes.softmax(1).numpy()


def _features(one: SeriesResult, rows: NDArray[np.intp]) -> Tensor:
    return torch.from_numpy(_seen(one).features[rows])


def _heat(one: SeriesResult, rows: NDArray[np.intp], gradients: Tensor) -> NDArray[np.float32]:
    heat = np.zeros_like(one.predictions.heat)
    maps = torch.from_numpy(_seen(one).maps[rows]).float()
    np.maximum.at(heat, rows, grad_cam(maps, gradients).numpy())  # a thick slice may have many partners
    hottest, own = float(heat.max(initial=0.0)), float(one.predictions.heat.max(initial=0.0))
    result: NDArray[np.float32] = heat * np.float32(own / hottest if hottest > 0 else 0.0)
    return result


def _seen(one: SeriesResult) -> MemberFeatures:
    if one.predictions.seen is None:
        raise ValueError("nothing was kept of this series for the fusion")
    return one.predictions.seen
