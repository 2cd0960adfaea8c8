"""The analysis of a drawn study, as the worker would give it, without any model."""

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.evidence import Evidence, SliceEvidence
from neurotriage.core.values import (
    Analysis,
    Finding,
    Outcome,
    Polygon,
    Prediction,
    Reason,
    ReasonCode,
    SeriesDecision,
    SeriesVerdict,
    Side,
    SliceScores,
    Triage,
)
from neurotriage.phantom.study import Made

INSTALLATION = "2.25.1234567890"
ANALYSED_AT = datetime(2026, 11, 20, 9, 30, 15, tzinfo=UTC)
MODEL_SHA256 = sha256(b"weights").hexdigest()


def make_analysis(made: Made, outcome: Outcome, **changes: object) -> tuple[Analysis, Evidence]:
    """The analysis of a drawn study with this outcome, with heat map and mask on the lesion.

    ``changes`` replaces fields of the ``Analysis``.
    """
    present = outcome is Outcome.PRESENT
    marked = [n for n, mask in enumerate(made.masks) if mask.sum() > 8] if outcome.marked else []
    evidence = tuple(_evidence(made, n, present) for n in marked)
    key = max(range(len(marked)), key=lambda n: made.masks[marked[n]].sum()) if marked else None
    analysis = Analysis(
        study_instance_uid=made.manifest.study_instance_uid,
        revision=1,
        analysed_at=ANALYSED_AT,
        outcome=outcome,
        triage=_TRIAGE[outcome],
        reasons=(_REASONS[outcome],),
        verdicts=_verdicts(made, outcome),
        predictions=(_prediction(made, outcome),) if outcome.analysed else (),
        findings=tuple(_finding(made, n) for n in marked) if present else (),
        series=_decisions(made, outcome),
        input_digest=made.manifest.digest,
        software_version="0.1.0",
    )
    return replace(analysis, **changes), Evidence(evidence, key)  # type: ignore[arg-type]


def make_fused_analysis(ct: Made, mr: Made, outcome: Outcome) -> tuple[Analysis, Evidence]:
    """The analysis of a pair, judged by a model for each modality and by a third one for both together."""
    (of_ct, ct_evidence), (of_mr, mr_evidence) = make_analysis(ct, outcome), make_analysis(mr, outcome)
    apart = (*_about(of_ct, ct), *_about(of_mr, mr))
    together = tuple(
        replace(p, model="fusion", modality="CT+MR", sha256=sha256(b"fusion").hexdigest())
        for p in of_mr.predictions
    )
    fused = replace(
        of_ct,
        verdicts=(*of_ct.verdicts[:1], *of_mr.verdicts),
        predictions=(*together, *apart),
        findings=(*of_ct.findings, *of_mr.findings),
        series=(*of_ct.series, *of_mr.series),
    )
    key = None if mr_evidence.key is None else len(ct_evidence.slices) + mr_evidence.key
    return fused, Evidence((*ct_evidence.slices, *mr_evidence.slices), key)


def _about(analysis: Analysis, made: Made) -> tuple[Prediction, ...]:
    """The predictions as those of the modality's own model about one series."""
    return tuple(
        replace(
            p,
            model=f"efficientnet-lite0-{made.modality.lower()}",
            sha256=sha256(made.modality.encode()).hexdigest(),
            series_instance_uid=made.series_instance_uid,
        )
        for p in analysis.predictions
    )


_TRIAGE = dict.fromkeys(Outcome, Triage.NONE) | {
    Outcome.PRESENT: Triage.URGENT,
    Outcome.ABSENT: Triage.ROUTINE,
    Outcome.UNDETERMINED: Triage.PRIORITY,
}
_REASONS = {
    Outcome.PRESENT: Reason(ReasonCode.TUMOUR, "tumour probability above the threshold"),
    Outcome.ABSENT: Reason(ReasonCode.NO_TUMOUR, "all analysed series are below the threshold"),
    Outcome.UNDETERMINED: Reason(
        ReasonCode.NO_SAFE_ANSWER, "the probability lies too close to the threshold for a safe answer"
    ),
    Outcome.POOR_QUALITY: Reason(ReasonCode.TOO_FEW_SLICES, "only 3 slices, at least 8 are needed"),
    Outcome.INCOMPLETE: Reason(ReasonCode.MISSING_IMAGES, "4 of 22 stated images have not arrived"),
    Outcome.NOT_ELIGIBLE: Reason(ReasonCode.NO_HEAD_SERIES, "no head CT or MR series that a model can read"),
    Outcome.FAILED: Reason(
        ReasonCode.ATTEMPTS_EXHAUSTED, "three attempts ended in an error of this software"
    ),
}


def outline_of(mask: NDArray[np.bool_]) -> Polygon:
    """A closed polygon around a convex mask, along pixel edges: down its left side, up its right side."""
    rows = np.flatnonzero(mask.any(axis=1))
    left = [(float(np.flatnonzero(mask[r])[0]), float(r + e)) for r in rows for e in (0, 1)]
    right = [(float(np.flatnonzero(mask[r])[-1] + 1), float(r + e)) for r in rows[::-1] for e in (1, 0)]
    return (*left, *right, left[0])


def _finding(made: Made, place: int) -> Finding:
    mask = made.masks[place]
    rows, columns = np.argwhere(mask).T
    sop, frame = made.keys[place]
    return Finding(
        lesion=1,
        series_instance_uid=made.series_instance_uid,
        sop_instance_uid=sop,
        frame=frame,
        slice_index=place,
        box=(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1),
        outline=outline_of(mask),
        size_mm=2 * float(np.sqrt(mask.sum() * made.spacing_mm[0] * made.spacing_mm[1] / np.pi)),
        side=Side.LEFT,
        probability=0.973,
    )


def _evidence(made: Made, place: int, present: bool) -> SliceEvidence:
    mask = made.masks[place]
    sop, frame = made.keys[place]
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    centre = np.argwhere(mask).mean(axis=0)
    distance = np.hypot(rows - centre[0], columns - centre[1]) / (0.09 * mask.shape[0])
    probability = 0.973 if present else 0.51
    heat = (probability * np.exp(-(distance**2) / 2)).astype(np.float16)
    kept = mask if present else np.zeros_like(mask)
    return SliceEvidence(made.series_instance_uid, sop, frame, place, probability, heat, kept)


_PROBABILITY = {Outcome.PRESENT: 0.973, Outcome.ABSENT: 0.032, Outcome.UNDETERMINED: 0.514}


def _prediction(made: Made, outcome: Outcome) -> Prediction:
    tumour = _PROBABILITY[outcome]
    return Prediction(
        model="efficientnet-lite0-mr",
        version="1.0.0",
        sha256=MODEL_SHA256,
        modality=made.modality,
        probabilities={"tumour": tumour},
        threshold=0.5,
    )


def _decisions(made: Made, outcome: Outcome) -> tuple[SeriesDecision, ...]:
    if not outcome.analysed:
        return ()
    scores = tuple(float(0.02 + 0.3 * mask.mean()) for mask in made.masks)
    return (
        SeriesDecision(
            made.series_instance_uid, outcome, _REASONS[outcome], SliceScores(scores, (0.1,) * len(scores))
        ),
    )


def _verdicts(made: Made, outcome: Outcome) -> tuple[SeriesVerdict, ...]:
    taken = SeriesVerdict(
        made.series_instance_uid,
        made.modality,
        "AX FLAIR",
        outcome.analysed,
        Reason(ReasonCode.ELIGIBLE, "an axial head series") if outcome.analysed else _REASONS[outcome],
        head_meant=True,
    )
    localizer = SeriesVerdict(
        "1.2.3.4", "MR", "3-PLANE LOC", False, Reason(ReasonCode.LOCALIZER, "a localizer, three planes")
    )
    return taken, localizer
