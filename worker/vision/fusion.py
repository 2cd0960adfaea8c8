"""CT and MR of one head judged together, where they are known to lie in one space.

No encoder runs here: the fusion takes the features of the pass that judged each series alone.
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
LARGEST_ANGLE_DEG = 20.0  # between slices of a pair; training turned and tilted them by as much
MIN_PAIRS = 3
NOT_FUSED = "CT and MR were judged apart"


@dataclass(frozen=True, slots=True, eq=False)
class FusionResult:
    """The fusion's prediction on one CT and one MR series, and its explanation."""

    prediction: Prediction  # about the study
    ct: SeriesResult
    mr: SeriesResult
    # (n, fh, fw) Grad-CAM of the fused score on the slices of each series, scaled to the highest value of the
    # series' own Grad-CAM; 0 on slices without a partner.
    ct_heat: NDArray[np.float32]
    mr_heat: NDArray[np.float32]

    @property
    def tumour(self) -> float:
        """The pair's probability of a tumour."""
        return self.prediction.probabilities[TUMOUR]


def fuse(
    judged: Sequence[SeriesResult], models: Models, registrations: Sequence[Registration]
) -> tuple[FusionResult | None, str]:
    """The CT and the MR series with the most slices in common, judged together; else None and why not.

    ``judged`` must hold the member features of the networks that the fusion names (``judge`` with
    ``to_fuse``). The sentence is empty where there is no fusion network or only one modality.
    """
    card = models.fusion
    if card is None or {result.volume.modality for result in judged} != set(MODALITIES):
        return None, ""
    by_modality = {
        modality: [
            result
            for result in judged
            if result.volume.modality == modality and result.predictions.member_features is not None
        ]
        for modality in MODALITIES
    }
    for modality, series in by_modality.items():
        if not series:
            return None, f"{NOT_FUSED}: the network {card.members[modality].name} did not answer"
    candidates: list[tuple[SeriesResult, SeriesResult, NDArray[np.intp]]] = []
    reasons: list[str] = []
    for ct, mr in product(*by_modality.values()):
        pairs = common_slices(ct, mr, registrations)
        if isinstance(pairs, str):
            reasons.append(pairs)
        else:
            candidates.append((ct, mr, pairs))
    if not candidates:
        return None, f"{NOT_FUSED}: {'; '.join(dict.fromkeys(reasons))}"
    ct, mr, pairs = max(candidates, key=lambda candidate: len(candidate[2]))
    try:
        return _fused(ct, mr, pairs, card, models), ""
    except BadWeights:  # damaged since the start, when they were checked; each modality stands alone
        return None, f"{NOT_FUSED}: the weights of the fusion cannot be loaded any more"


def common_slices(
    ct: SeriesResult, mr: SeriesResult, registrations: Sequence[Registration]
) -> NDArray[np.intp] | str:
    """(n, 2) rows of the CT's and the MR's predictions that show the same place; else why there are none."""
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
    """(4, 4) matrix in mm from the MR's patient coordinates to the CT's; None where it is not known.

    Series with the same Frame of Reference UID lie in the same space (PS3.3 C.7.4.1). Else a registration
    may lead from one to the other, or two of them from both to a third frame.
    """
    ct_uid, mr_uid = ct.frame_of_reference_uid, mr.frame_of_reference_uid
    if ct_uid is None or mr_uid is None:
        return None
    if ct_uid == mr_uid:
        return np.eye(4)
    for target in {registration.target_uid for registration in registrations}:
        to_target = {target: np.eye(4)} | {
            registration.source_uid: registration.matrix
            for registration in registrations
            if registration.target_uid == target
        }
        if ct_uid in to_target and mr_uid in to_target:
            matrix: NDArray[np.float64] = np.linalg.inv(to_target[ct_uid]) @ to_target[mr_uid]
            return matrix
    return None


def raised_by(fused: FusionResult, judged: Sequence[SeriesResult]) -> tuple[SeriesResult, ...]:
    """All series; those of the fused pair that ended in NO_SAFE_ANSWER become PRESENT from its threshold on.

    A suspected mimic stays one, as the fusion has no class for it. No outcome is lowered.
    """
    if fused.tumour < fused.prediction.threshold:
        return tuple(judged)
    heat = {id(fused.ct): fused.ct_heat, id(fused.mr): fused.mr_heat}
    reason = Reason(ReasonCode.TUMOUR, f"tumour on CT and MR together, probability {percent(fused.tumour)}")
    return tuple(
        raised(result, reason, heat[id(result)])
        if id(result) in heat and result.reason.code is ReasonCode.NO_SAFE_ANSWER
        else result
        for result in judged
    )


def _normal(volume: Volume) -> NDArray[np.float64]:
    normal: NDArray[np.float64] = np.cross(volume.row_direction, volume.column_direction)
    return normal


def _nearest(ct: SeriesResult, mr: SeriesResult, matrix: NDArray[np.float64]) -> NDArray[np.intp]:
    """(n, 2) for each MR slice the CT slice nearest to its middle, within half a step of the wider stack.

    Nearly blank slices have no partner.
    """
    at_ct_mm = slice_positions_mm(ct.volume)[ct.predictions.indices]
    rows, columns = mr.volume.voxels.shape[1:]
    points_mm = np.array(
        [mr.volume.to_patient_mm((columns - 1) / 2, (rows - 1) / 2, int(i)) for i in mr.predictions.indices]
    )
    along_mm = (points_mm @ matrix[:3, :3].T + matrix[:3, 3]) @ _normal(ct.volume)
    distance_mm = np.abs(along_mm[:, None] - at_ct_mm)
    at_mr_mm = slice_positions_mm(mr.volume)[mr.predictions.indices]
    steps_mm = (
        slice_steps_mm(at_mm, volume.thickness_mm)
        for at_mm, volume in ((at_ct_mm, ct.volume), (at_mr_mm, mr.volume))
    )
    close = distance_mm.min(1) <= max(float(np.median(step)) for step in steps_mm) / 2
    pairs: NDArray[np.intp] = np.stack([distance_mm.argmin(1), np.arange(len(along_mm))], 1)[close]
    return pairs[_not_blank(ct)[pairs[:, 0]] & _not_blank(mr)[pairs[:, 1]]]


def _not_blank(result: SeriesResult) -> NDArray[np.bool_]:
    """(n,) which slices of the predictions show a section of the head."""
    shares = result.sections.shares[result.predictions.indices]
    return np.asarray(shares >= result.model.rule.blank_section)


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
        without = both.clone()
        without[:, place] = False
        left_out[modality] = float(_scores(network, features, without, (ct, mr), pairs, card)[0].max())
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
    heats = (_heat(result, pairs[:, k], gradients[k]) for k, result in enumerate((ct, mr)))
    return FusionResult(prediction, ct, mr, *heats)


def _scores(
    network: FusionNet,
    features: tuple[Tensor, Tensor],
    given: Tensor,
    series: tuple[SeriesResult, SeriesResult],
    pairs: NDArray[np.intp],
    card: FusionCard,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By pair: (n,) tumour probabilities, weighted and smoothed as in a series; (n, 3) of the classes."""
    classes = network(*features, given).classes.double()
    tumour = torch.sigmoid(tumour_logit(classes) / card.temperature).numpy()
    rules = [result.model.rule for result in series]
    weights = np.min(
        [
            slice_weights(result.volume, result.sections, rule)[result.predictions.indices[pairs[:, place]]]
            for place, (result, rule) in enumerate(zip(series, rules, strict=True))
        ],
        axis=0,
    )
    mr = series[1]
    along_mm = slice_positions_mm(mr.volume)[mr.predictions.indices[pairs[:, 1]]]
    return smooth(tumour * weights, along_mm, mr.model.rule.smoothing_mm), classes.softmax(1).numpy()


def _features(result: SeriesResult, rows: NDArray[np.intp]) -> Tensor:
    return torch.from_numpy(_member_features(result).features[rows])


def _heat(result: SeriesResult, rows: NDArray[np.intp], gradients: Tensor) -> NDArray[np.float32]:
    heat = np.zeros_like(result.predictions.heat)
    maps = torch.from_numpy(_member_features(result).maps[rows]).float()
    np.maximum.at(heat, rows, grad_cam(maps, gradients).numpy())  # a thick slice may have many partners
    hottest, own = float(heat.max(initial=0.0)), float(result.predictions.heat.max(initial=0.0))
    return np.asarray(heat * np.float32(own / hottest if hottest > 0 else 0.0))


def _member_features(result: SeriesResult) -> MemberFeatures:
    if result.predictions.member_features is None:
        raise ValueError("nothing was kept of this series for the fusion")
    return result.predictions.member_features
