"""The experimental heads: WHO grade 2 against 3, and vital status, both questions about a patient.

Patients are few, so a patient counts once: the logit is the mean over the slices with tumour. Grade 4 comes
from one source alone and is left out: it would teach the source.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.data.manifest import Row
from training.evaluation.bootstrap import with_intervals
from training.evaluation.metrics import auc_roc
from training.fusion.features import PairFeatures
from training.fusion.pairs import ALONE
from worker.vision.network.fusion import FusionNet

STEPS, LOOK_EVERY = 150, 10
RATE, DECAY = 1e-3, 1e-1


def _grade_3(row: Row) -> bool | None:
    return row.grade == 3 if row.grade in (2, 3) else None


QUESTIONS: Mapping[str, Callable[[Row], bool | None]] = {"grade": _grade_3, "survival": lambda row: row.death}


@dataclass(frozen=True, slots=True, eq=False)
class Patients:
    """The slices with tumour of those of whom the answer to a question is known."""

    names: tuple[str, ...]  # n
    truth: NDArray[np.bool_]  # (n,)
    rows: Tensor  # (rows,) into the features
    patient: Tensor  # (rows,) into the names


def patients_of(known: PairFeatures, question: str) -> Patients:
    """Of MR slices as they are stored in a manifest, without a CT."""
    answer = QUESTIONS[question]
    rows_of: dict[str, list[int]] = defaultdict(list)
    truth: dict[str, bool] = {}
    for index, place in enumerate(known.features.pair.tolist()):
        pair = known.pairs[place]
        said = answer(pair.row) if pair.row is not None and pair.kind == ALONE and pair.tumour else None
        if pair.row is not None and said is not None:
            rows_of[pair.row.group].append(index)
            truth[pair.row.group] = said
    names = tuple(sorted(rows_of))
    return Patients(
        names,
        np.array([truth[name] for name in names], bool),
        torch.tensor([index for name in names for index in rows_of[name]], dtype=torch.long),
        torch.tensor([k for k, name in enumerate(names) for _ in rows_of[name]], dtype=torch.long),
    )


def train_experiments(network: FusionNet, train: PairFeatures, val: PairFeatures) -> None:
    """Train both heads on the frozen embedding; of all looks at val the best is kept."""
    for question in QUESTIONS:
        head: nn.Module = getattr(network, question)
        ours, theirs = patients_of(train, question), patients_of(val, question)
        if len(set(ours.truth)) < 2 or not theirs.names:
            continue
        embedded, val_embedded = _embedding(network, train, ours), _embedding(network, val, theirs)
        optimiser = torch.optim.AdamW(head.parameters(), RATE, weight_decay=DECAY)
        best, kept = float("inf"), deepcopy(head.state_dict())
        for step in range(1, STEPS + 1):
            loss = _loss(head, embedded, ours)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if step % LOOK_EVERY == 0:
                with torch.no_grad():
                    on_val = float(_loss(head, val_embedded, theirs))
                if on_val < best:
                    best, kept = on_val, deepcopy(head.state_dict())
        head.load_state_dict(kept)


def patient_block(network: FusionNet, known: PairFeatures, question: str) -> dict[str, object]:
    """AUC over patients with its bootstrap interval, and how many there are; null without any."""
    patients = patients_of(known, question)
    score = np.zeros(0)
    if patients.names:
        with torch.no_grad():
            logits = _logits(getattr(network, question), _embedding(network, known, patients), patients)
        score = logits.double().numpy()
    figures = with_intervals(
        lambda rows: {"auc_roc": auc_roc(patients.truth[rows], score[rows])}, patients.names
    )
    return {"n": len(patients.names), "positive": int(patients.truth.sum()), "unit": "patient", **figures}


@torch.no_grad()
def _embedding(network: FusionNet, known: PairFeatures, patients: Patients) -> Tensor:
    features = known.features
    return network.embedding(*features.inputs(patients.rows), features.given[patients.rows])


def _logits(head: nn.Module, embedded: Tensor, patients: Patients) -> Tensor:
    """(patients,) the mean over each one's slices."""
    sums = torch.zeros(len(patients.names)).index_add(0, patients.patient, head(embedded).squeeze(1))
    return sums / torch.bincount(patients.patient)


def _loss(head: nn.Module, embedded: Tensor, patients: Patients) -> Tensor:
    """Cross entropy over patients, both answers of equal weight."""
    truth = torch.from_numpy(patients.truth).float()
    share = truth.mean().clamp(0.05, 0.95)
    weight = truth / share + (1 - truth) / (1 - share)
    logits = _logits(head, embedded, patients)
    return functional.binary_cross_entropy_with_logits(logits, truth, weight)
